package main

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// drainLimit is how long the end of the output is waited for when a process
// that cannot be killed still holds the pipe.
const drainLimit = 2 * time.Second

// output carries what the step's commands print to the container's own standard
// output and error, which are its log, and in order of arrival to a file, from
// which a gap in the log can be filled by byte offset.
//
// One goroutine does the copying. It waits for both pipes at once by epoll,
// whose ready list is in order of arrival, and passes on what is there, so that
// nothing waits for a full line or buffer. A full or broken disk costs the file,
// never the step.
type output struct {
	// out and err are the pipes' ends for the commands; they are one when
	// the streams are merged.
	out, err *os.File
	sources  map[int]source
	epoll    int
	file     *os.File
	limit    int64
	// kept and total count the bytes in the file and the bytes printed;
	// only the pump adds to them.
	kept, total atomic.Int64
	finished    chan struct{}
}

// source is a pipe that is read, and where its bytes are passed on to.
type source struct {
	pipe *os.File
	to   io.Writer
}

// openOutput starts the copying. Without a file it goes on all the same.
func openOutput(path string, limit int64, merge bool) (*output, error) {
	o := &output{sources: map[int]source{}, limit: limit, finished: make(chan struct{})}
	var err error
	if o.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if o.out, err = o.pipe(os.Stdout); err != nil {
		return nil, err
	}
	o.err = o.out
	if !merge {
		if o.err, err = o.pipe(os.Stderr); err != nil {
			return nil, err
		}
	}
	const create = os.O_WRONLY | os.O_CREATE | os.O_TRUNC | syscall.O_NOFOLLOW
	if o.file, err = os.OpenFile(path, create, 0o644); err != nil {
		o.say("the output is not kept as a file: %v", err)
	} else if err := o.file.Chmod(0o644); err != nil {
		o.say("the output file may not be readable: %v", err)
	}
	go o.pump()
	return o, nil
}

// pipe makes a pipe that is read here and returns its writing end.
func (o *output) pipe(to io.Writer) (*os.File, error) {
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	o.sources[ends[0]] = source{os.NewFile(uintptr(ends[0]), "output"), to}
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(ends[0])}
	if err := syscall.EpollCtl(o.epoll, syscall.EPOLL_CTL_ADD, ends[0], &event); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return os.NewFile(uintptr(ends[1]), "output"), nil
}

// say prints a message of the agent's own, behind all that was printed so far.
func (o *output) say(format string, values ...any) {
	fmt.Fprintf(o.err, name+": "+format+"\n", values...)
}

// pump copies until all writing ends are closed.
func (o *output) pump() {
	defer close(o.finished)
	buffer := make([]byte, 64<<10) // a pipe's capacity: one read takes all
	events := make([]syscall.EpollEvent, 2)
	for open := len(o.sources); open > 0; {
		ready, err := syscall.EpollWait(o.epoll, events, -1)
		if err != nil && err != syscall.EINTR {
			return
		}
		for _, event := range events[:max(ready, 0)] {
			if !o.copy(int(event.Fd), buffer) {
				open--
			}
		}
	}
}

// copy passes on what is in one pipe; false says that the pipe has ended.
func (o *output) copy(descriptor int, buffer []byte) bool {
	count, err := syscall.Read(descriptor, buffer)
	if err == syscall.EINTR {
		return true
	}
	if count <= 0 {
		syscall.EpollCtl(o.epoll, syscall.EPOLL_CTL_DEL, descriptor, nil)
		return false
	}
	chunk := buffer[:count]
	o.total.Add(int64(count))
	// An error means that nobody reads the container's log any more (the
	// runtime has gone); the step goes on, and the file still has it.
	_, _ = o.sources[descriptor].to.Write(chunk)
	o.keep(chunk)
	return true
}

// keep appends to the file as far as the limit and the disk allow. After the
// first byte lost nothing more is kept: offsets in the file are those in the log.
func (o *output) keep(chunk []byte) {
	kept, length := o.kept.Load(), int64(len(chunk))
	if o.file == nil || kept != o.total.Load()-length {
		return
	}
	count, _ := o.file.Write(chunk[:min(length, o.limit-kept)])
	o.kept.Add(int64(count))
}

// close ends the output once the commands are gone. It returns the bytes
// printed and whether the file lacks some of them.
func (o *output) close() (total int64, truncated bool) {
	o.out.Close()
	o.err.Close()
	select {
	case <-o.finished:
	case <-time.After(drainLimit):
		return o.total.Load(), true // nobody knows what is still to come
	}
	if o.file != nil {
		o.file.Close()
	}
	return o.total.Load(), o.kept.Load() < o.total.Load()
}
