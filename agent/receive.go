package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// defaultSourceBytes bounds the unpacked source.
	defaultSourceBytes = 512 << 20
	// defaultSourceFiles bounds its files, links and folders.
	defaultSourceFiles = 100_000
	// lockWait is how long a second receive waits for a first one to notice
	// that its sender has gone.
	lockWait = 30 * time.Second
)

// receipt is the answer of receive, and what the source marker holds.
type receipt struct {
	// Files counts the files and links unpacked, Bytes their contents.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// SHA256 is the digest of the compressed archive, in hexadecimal.
	SHA256 string `json:"sha256"`
}

// receiver is one call of receive.
type receiver struct {
	at       layout
	maxBytes int64
	maxFiles int
}

// receive unpacks the source that arrives on standard input and answers with
// one line of JSON on standard output: a receipt, or {"error": "..."}. After a
// failure nothing is left and the marker is absent; after a success a second
// call changes nothing and answers the same.
func receive(args []string) int {
	r := receiver{at: sharedLayout()}
	flags := flag.NewFlagSet("receive", flag.ContinueOnError)
	flags.Int64Var(&r.maxBytes, "max-bytes", defaultSourceBytes, "unpacked bytes allowed")
	flags.IntVar(&r.maxFiles, "max-files", defaultSourceFiles, "files, links and folders allowed")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return exitUsage
	}
	answer, err := r.receive(os.Stdin)
	if err != nil {
		printJSON(os.Stdout, map[string]string{"error": err.Error()})
		return exitFailed
	}
	if _, err := os.Stdout.Write(answer); err != nil {
		return exitFailed
	}
	return exitOK
}

// receive returns the line to answer with.
func (r receiver) receive(stdin io.Reader) ([]byte, error) {
	// The step may run under another user id: what is made here is opened
	// to it by mode, and the mask would take that away.
	syscall.Umask(0)
	unlock, err := lockFile(r.at.lock())
	if err != nil {
		return nil, err
	}
	defer unlock()
	frames := newFrameReader(stdin)
	if done, err := os.ReadFile(r.at.source()); err == nil {
		return done, frames.drain()
	}
	if exists(r.at.start()) {
		return nil, errors.New("the step has started already, without a source")
	}
	got, err := r.unpack(frames)
	if err != nil {
		return nil, errors.Join(err, emptyFolder(r.at.work()))
	}
	var answer bytes.Buffer
	if err := printJSON(&answer, got); err != nil {
		return nil, err
	}
	return answer.Bytes(), writeAtomic(r.at.source(), answer.Bytes())
}

// unpack fills the work folder from the frames, to the end frame.
func (r receiver) unpack(frames *frameReader) (receipt, error) {
	if err := emptyFolder(r.at.work()); err != nil {
		return receipt{}, err
	}
	root, err := os.OpenRoot(r.at.work())
	if err != nil {
		return receipt{}, err
	}
	defer root.Close()
	u := unpacker{root: root, maxBytes: r.maxBytes, maxEntries: r.maxFiles}
	if err := u.unpack(frames); err != nil {
		return receipt{}, err
	}
	if err := frames.drain(); err != nil {
		return receipt{}, err
	}
	return receipt{Files: u.files, Bytes: u.bytes, SHA256: frames.sha256()}, nil
}

// emptyFolder removes everything in a folder, but not the folder: it belongs to
// the init container's user and may be a mount.
func emptyFolder(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(folder, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// lockFile takes an exclusive lock, waiting a little for its holder to go.
func lockFile(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockWait); ; time.Sleep(poll) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(end) {
			file.Close()
			return nil, errors.New("another transfer of the source is still under way")
		}
	}
}
