package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// reapLimit is how long killed processes are waited for.
const reapLimit = 2 * time.Second

// forwarded are the signals passed on to the running command. SIGURG is missing
// on purpose: the Go runtime sends it to itself.
var forwarded = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM,
	syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT,
}

// supervisor starts commands one after another, each in a process group of its
// own, and watches over the one that runs: signals, the time limit, the grace
// after either, and the processes that are left behind. It waits for any child,
// as process 1 must, so nothing else in this program may wait for one.
type supervisor struct {
	signals  chan os.Signal
	children chan os.Signal
	// overtime fires once, when the time limit is reached; nil never does.
	overtime <-chan time.Time
	grace    time.Duration
	say      func(format string, values ...any)
	groups   []int
	// stopped is the signal that asked the whole run to end, or zero.
	stopped  syscall.Signal
	timedOut bool
}

// newSupervisor takes over the signals and becomes the parent of orphans.
func newSupervisor(grace time.Duration) *supervisor {
	s := &supervisor{
		signals:  make(chan os.Signal, 16),
		children: make(chan os.Signal, 1),
		grace:    grace,
		say:      complain,
	}
	signal.Notify(s.signals, forwarded...)
	signal.Notify(s.children, syscall.SIGCHLD)
	// Caught, so that a log nobody reads does not end the agent; not
	// ignored, since commands would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	const setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER of prctl(2)
	syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0)
	return s
}

// halted tells whether no further command may be started.
func (s *supervisor) halted() bool {
	return s.timedOut || s.stopped != 0
}

// limit starts the clock of the time limit; zero is no limit.
func (s *supervisor) limit(timeout time.Duration) {
	if timeout > 0 {
		s.overtime = time.After(timeout)
	}
}

// start runs program as a new process group with the given output.
func (s *supervisor) start(program string, argv, environment []string, out, err *os.File) (int, error) {
	null, failure := os.Open(os.DevNull)
	if failure != nil {
		return 0, failure
	}
	defer null.Close()
	pid, failure := syscall.ForkExec(program, argv, &syscall.ProcAttr{
		Env:   environment,
		Files: []uintptr{null.Fd(), out.Fd(), err.Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if failure == nil {
		s.groups = append(s.groups, pid)
	}
	return pid, failure
}

// wait returns the status of the command pid. If the run was asked to end, or
// its time was up, it returns when the whole group is gone or was killed.
func (s *supervisor) wait(pid int) syscall.WaitStatus {
	var status syscall.WaitStatus
	var patience <-chan time.Time // runs from the first SIGTERM on
	ended, killed := false, false
	for {
		if found, ok := s.reap(pid); ok {
			status, ended = found, true
		}
		if ended && (!s.halted() || killed || !groupExists(pid)) {
			return status
		}
		wasHalted := s.halted()
		select {
		case <-s.children:
		case received := <-s.signals:
			s.forward(pid, received.(syscall.Signal))
		case <-s.overtime:
			s.expire(pid)
		case <-patience:
			s.say("still running %s after it was asked to end, killed", s.grace)
			syscall.Kill(-pid, syscall.SIGKILL)
			killed = true
		}
		if s.halted() && !wasHalted {
			patience = time.After(s.grace)
		}
	}
}

// forward passes a signal on; SIGTERM and SIGINT also end the run.
func (s *supervisor) forward(pid int, received syscall.Signal) {
	syscall.Kill(-pid, received)
	if received == syscall.SIGTERM || received == syscall.SIGINT {
		s.stopped = received
		syscall.Kill(-pid, syscall.SIGCONT) // a stopped process hears nothing else
	}
}

// expire ends the command because its time is up, unless it is ending anyway.
func (s *supervisor) expire(pid int) {
	if s.halted() {
		return
	}
	s.timedOut = true
	s.say("the time limit is reached, the command is asked to end")
	syscall.Kill(-pid, syscall.SIGTERM)
	syscall.Kill(-pid, syscall.SIGCONT)
}

// groupExists tells whether a process group has members.
func groupExists(group int) bool {
	return syscall.Kill(-group, 0) != syscall.ESRCH
}

// reap collects all children that have ended and returns pid's status if it is
// among them.
func (s *supervisor) reap(pid int) (status syscall.WaitStatus, found bool) {
	for {
		var one syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &one, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || ended <= 0 {
			return status, found
		}
		if ended == pid {
			status, found = one, true
		}
	}
}

// killAll ends what the commands left running, in their groups or out of them:
// orphans become children of this process, generation by generation.
func (s *supervisor) killAll() {
	for _, group := range s.groups {
		syscall.Kill(-group, syscall.SIGKILL)
	}
	end := time.After(reapLimit)
	for {
		s.reap(0)
		left := childPIDs()
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-s.children:
		case <-end:
			return
		}
	}
}

// childPIDs are the direct children of this process, as /proc tells.
func childPIDs() []int {
	var result []int
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil {
				result = append(result, pid)
			}
		}
	}
	return result
}

// lookUp finds a program as execvp(3) does, but in the given search path, and
// tells a missing program from one that may not be executed.
func lookUp(program, search string) (string, error) {
	if strings.Contains(program, "/") {
		return program, executable(program)
	}
	result := error(syscall.ENOENT)
	for _, folder := range filepath.SplitList(search) {
		candidate := filepath.Join(folder, program)
		err := executable(candidate)
		if err == nil {
			return candidate, nil
		}
		if err == syscall.EACCES {
			result = err
		}
	}
	return "", result
}

// executable returns nil, ENOENT or EACCES.
func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		if os.IsPermission(err) {
			return syscall.EACCES
		}
		return syscall.ENOENT
	}
	const execute = 1
	if info.IsDir() || syscall.Access(path, execute) != nil {
		return syscall.EACCES
	}
	return nil
}

// describe says how a command ended, for people.
func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return fmt.Sprintf("killed by signal %d (%s)", status.Signal(), status.Signal())
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}
