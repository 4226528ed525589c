package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stage is how far a run has come.
type stage string

const (
	// stageSource waits for the source.
	stageSource stage = "SOURCE"
	// stageInstall runs the install commands.
	stageInstall stage = "INSTALL"
	// stageCommand runs the step's command.
	stageCommand stage = "COMMAND"
)

// record is the result of a run. It is written once, at its end.
type record struct {
	// Version is that of this format.
	Version int `json:"version"`
	// Stage is where the run ended.
	Stage stage `json:"stage"`
	// InstallIndex counts from zero; -1 if the run did not end in INSTALL.
	InstallIndex int `json:"install_index"`
	// ExitCode is the agent's own: the command's, or 128 + its signal, or
	// 124 to 127 as docs/agent.md says.
	ExitCode int `json:"exit_code"`
	// Signal is what killed the command; zero if it exited.
	Signal int `json:"signal"`
	// OOMKills is by how much the cgroup's counter grew during the run.
	OOMKills int64 `json:"oom_kills"`
	// TimedOut says that the step's time limit ended the run.
	TimedOut bool `json:"timed_out"`
	// Stopped says that SIGTERM or SIGINT to the agent ended the run.
	Stopped bool `json:"stopped"`
	// NotFound is the command that does not exist, or empty.
	NotFound string `json:"not_found"`
	// StartedAt and FinishedAt are microseconds since the epoch by the
	// node's clock.
	StartedAt  int64 `json:"started_at"`
	FinishedAt int64 `json:"finished_at"`
	// InstallMS is how long the install commands took, in milliseconds.
	InstallMS int64 `json:"install_ms"`
	// OutputBytes counts all bytes printed; OutputTruncated says that the
	// output file holds only the first of them.
	OutputBytes     int64 `json:"output_bytes"`
	OutputTruncated bool  `json:"output_truncated"`
	// Error says, for people, what ended the run if it was not the command.
	Error string `json:"error"`
}

// fail ends the run for a reason of the agent's.
func (r *record) fail(code int, reason string) {
	r.ExitCode, r.Error = code, reason
}

// judge takes over how a command ended; s tells whether it was made to.
func (r *record) judge(status syscall.WaitStatus, s *supervisor) {
	r.ExitCode = status.ExitStatus()
	if status.Signaled() {
		r.Signal = int(status.Signal())
		r.ExitCode = exitSignalBase + r.Signal
	}
	switch {
	case s.timedOut:
		r.TimedOut = true
		r.fail(exitTimedOut, "time limit reached, "+describe(status))
	case s.stopped != 0:
		// A command may well end with 0 when it is asked to end, but it
		// did not finish.
		r.Stopped = true
		if r.ExitCode == 0 {
			r.ExitCode = exitSignalBase + int(s.stopped)
		}
		r.Error = "stopped by signal " + strconv.Itoa(int(s.stopped)) + ", " + describe(status)
	}
}

// write puts the record and then the end marker in place.
func (r *record) write(at layout) error {
	r.FinishedAt = time.Now().UnixMicro()
	var line bytes.Buffer
	if err := printJSON(&line, r); err != nil {
		return err
	}
	if err := writeAtomic(at.record(), line.Bytes()); err != nil {
		return err
	}
	return writeAtomic(at.end(), []byte(strconv.FormatInt(r.FinishedAt, 10)+"\n"))
}

// oomVariable names the file of the OOM counter, for tests.
const oomVariable = "K8S_EXECUTION_OOM_FILE"

// oomKills reads how often the kernel killed a process of this container for
// its memory. Zero where that cannot be known: the container's status may still
// tell it.
func oomKills() int64 {
	files := []string{
		"/sys/fs/cgroup/memory.events",             // cgroup v2
		"/sys/fs/cgroup/memory/memory.oom_control", // cgroup v1
	}
	if file := os.Getenv(oomVariable); file != "" {
		files = []string{file}
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			field, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			if count, err := strconv.ParseInt(value, 10, 64); err == nil && field == "oom_kill" {
				return count
			}
		}
	}
	return 0
}
