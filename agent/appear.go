package main

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// recheck bounds the wait where inotify is silent although it was granted
	// (some sandboxed kernels accept watches and report nothing).
	recheck = time.Second
	// poll is the pace where there is no inotify at all.
	poll = 50 * time.Millisecond
)

// appears returns a channel that is closed as soon as path exists, unless ctx
// ends before.
func appears(ctx context.Context, path string) <-chan struct{} {
	found := make(chan struct{})
	go func() {
		// The watch must be there before the first look, or a file made
		// between the two would go unnoticed until the recheck.
		changes := watchFolder(filepath.Dir(path))
		if changes != nil {
			defer changes.Close()
		}
		for !exists(path) {
			if ctx.Err() != nil {
				return
			}
			awaitChange(changes)
		}
		close(found)
	}()
	return found
}

// watchFolder returns an inotify descriptor for new names in the folder, or nil
// where the kernel has none to give.
func watchFolder(folder string) *os.File {
	descriptor, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		return nil
	}
	const names = syscall.IN_CREATE | syscall.IN_MOVED_TO
	if _, err := syscall.InotifyAddWatch(descriptor, folder, names); err != nil {
		syscall.Close(descriptor)
		return nil
	}
	return os.NewFile(uintptr(descriptor), "inotify")
}

// awaitChange returns after the next change, and after a while in any case.
func awaitChange(changes *os.File) {
	if changes == nil {
		time.Sleep(poll)
		return
	}
	if err := changes.SetReadDeadline(time.Now().Add(recheck)); err != nil {
		time.Sleep(poll)
		return
	}
	var events [4096]byte
	if _, err := changes.Read(events[:]); err != nil && !os.IsTimeout(err) {
		time.Sleep(poll)
	}
}
