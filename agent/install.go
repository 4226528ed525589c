package main

import (
	"io"
	"os"
	"path/filepath"
)

// install is the init container's command: it makes the folders and copies this
// binary to bin/agent on the shared volume, where every image can run it.
func install(args []string) int {
	if len(args) > 0 {
		complain("install takes no arguments")
		return exitUsage
	}
	at := sharedLayout()
	if err := at.install(); err != nil {
		complain("install: %v", err)
		return exitFailed
	}
	return exitOK
}

// install does the work of the subcommand of that name.
func (l layout) install() error {
	for _, folder := range folders {
		if err := makeFolder(filepath.Join(l.root, folder)); err != nil {
			return err
		}
	}
	bin := filepath.Join(l.root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(bin, 0o755); err != nil {
		return err
	}
	own, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer own.Close()
	temporary, err := os.CreateTemp(bin, ".agent-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	if _, err := io.Copy(temporary, own); err != nil {
		temporary.Close()
		return err
	}
	return publish(temporary, filepath.Join(bin, "agent"), 0o755)
}
