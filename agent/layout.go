package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// layout is where things lie on the volume that all containers of a pod share.
// Containers may run under different user ids, so folders are open to all and
// every file of ours is readable by all.
type layout struct {
	// root is the volume's mount point.
	root string
}

const (
	// defaultShared is where the pods mount the shared volume.
	defaultShared = "/k8s-execution"
	// sharedVariable names another place, for tests.
	sharedVariable = "K8S_EXECUTION_SHARED"
)

// folders are made by install, writable by every container of the pod.
var folders = []string{"state", "work", "report", "artifact", "output"}

// sharedLayout returns the layout below K8S_EXECUTION_SHARED or the default.
func sharedLayout() layout {
	if root := os.Getenv(sharedVariable); root != "" {
		return layout{root}
	}
	return layout{defaultShared}
}

// work is the folder of the source, where the step runs.
func (l layout) work() string { return filepath.Join(l.root, "work") }

// report is REPORT_DIR: everything in it is a report.
func (l layout) report() string { return filepath.Join(l.root, "report") }

// artifact is ARTIFACT_DIR: everything in it is an artifact.
func (l layout) artifact() string { return filepath.Join(l.root, "artifact") }

// output is the file that holds what the step printed.
func (l layout) output() string { return filepath.Join(l.root, "output", "log") }

// source is the marker that the source is complete; it holds receive's answer.
func (l layout) source() string { return filepath.Join(l.root, "state", "source") }

// lock is held by the receive that is at work.
func (l layout) lock() string { return filepath.Join(l.root, "state", "receive.lock") }

// start is the marker that user code may have run; it is never removed.
func (l layout) start() string { return filepath.Join(l.root, "state", "start") }

// record is the step's result.
func (l layout) record() string { return filepath.Join(l.root, "state", "record.json") }

// end is the marker that the record is final.
func (l layout) end() string { return filepath.Join(l.root, "state", "end") }

// release is the marker that ends hold.
func (l layout) release() string { return filepath.Join(l.root, "state", "release") }

// stop is the marker that ends run.
func (l layout) stop() string { return filepath.Join(l.root, "state", "stop") }

// exists tells whether there is anything at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// makeFolder makes a folder that every container may write to. The setgid bit
// passes the volume's group (fsGroup) on to what is made inside.
func makeFolder(path string) error {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o777|os.ModeSetgid); err != nil && !writable(path) {
		return err
	}
	return nil
}

// writable tells whether this process may make files in the folder: an
// existing folder of another user is good enough if it is open.
func writable(folder string) bool {
	const write, search = 2, 1
	return syscall.Access(folder, write|search) == nil
}

// writeAtomic puts a file in place at once and whole, readable by all.
func writeAtomic(path string, data []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	if _, err := temporary.Write(data); err != nil {
		temporary.Close()
		return err
	}
	return publish(temporary, path, 0o644)
}

// publish gives a finished temporary file its mode and its name.
func publish(temporary *os.File, path string, mode os.FileMode) error {
	if err := temporary.Chmod(mode); err != nil {
		temporary.Close()
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// openRegular opens a regular file for reading. It neither follows a symbolic
// link nor blocks on a pipe that user code put in its place.
func openRegular(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := requireRegular(file); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// requireRegular refuses folders, pipes, sockets and devices.
func requireRegular(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", file.Name())
	}
	return nil
}
