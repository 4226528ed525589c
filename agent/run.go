package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"strconv"
	"syscall"
	"time"
)

// errStarted says that user code may have run here before.
var errStarted = errors.New("this step was started before: it is not started again")

// errNoInterpreter says that a script is there and what should run it is not.
var errNoInterpreter = errors.New("the interpreter named in its first line is not found")

// runner is one call of run.
type runner struct {
	at     layout
	todo   spec
	record record
	*supervisor
}

// run is process 1 of a step's container: it waits for the source, takes the
// start marker, runs the install commands and the command, and leaves a record.
// Its exit code is the command's; see docs/agent.md for those of its own.
func run(args []string) int {
	at := sharedLayout()
	if exists(at.start()) {
		complain("%v", errStarted)
		return exitAgent
	}
	todo, err := readSpec(args)
	if errors.Is(err, flag.ErrHelp) {
		return exitUsage
	}
	r := runner{at: at, todo: todo, supervisor: newSupervisor(todo.grace())}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go r.obeyStop(ctx)
	r.record = record{Version: 1, Stage: stageSource, InstallIndex: -1}
	if err != nil {
		r.record.fail(exitAgent, err.Error())
	} else {
		r.awaitSource()
	}
	return r.run()
}

// run does what comes after the waiting. The start marker is taken also when
// nothing will be started: only who holds it may write the record.
func (r *runner) run() int {
	if err := r.takeStart(); err != nil {
		complain("%v", err)
		return exitAgent
	}
	kills := oomKills()
	if r.record.Error == "" {
		r.execute()
	} else {
		complain("%s", r.record.Error)
	}
	r.record.OOMKills = max(oomKills()-kills, 0)
	if err := r.record.write(r.at); err != nil {
		complain("the record cannot be written: %v", err)
	}
	return r.record.ExitCode
}

// awaitSource returns when the source is there, if the step needs one, or when
// the run is asked to end.
func (r *runner) awaitSource() {
	if !r.todo.Source {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ready := appears(ctx, r.at.source())
	for {
		select {
		case <-ready:
			return
		case <-r.children:
			r.reap(0)
		case received := <-r.signals:
			if received != syscall.SIGTERM && received != syscall.SIGINT {
				continue
			}
			code := int(received.(syscall.Signal))
			r.record.Stopped = true
			r.record.fail(exitSignalBase+code, "stopped by signal "+strconv.Itoa(code)+" while waiting for the source")
			return
		}
	}
}

// obeyStop turns the stop marker into the SIGTERM that a deleted pod would get.
func (r *runner) obeyStop(ctx context.Context) {
	select {
	case <-appears(ctx, r.at.stop()):
		r.signals <- syscall.SIGTERM
	case <-ctx.Done():
	}
}

// takeStart makes the start marker, which exists at most once.
func (r *runner) takeStart() error {
	marker, err := os.OpenFile(r.at.start(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return errStarted
	}
	if err != nil {
		return err
	}
	defer marker.Close()
	r.record.StartedAt = time.Now().UnixMicro()
	_, err = marker.WriteString(strconv.FormatInt(r.record.StartedAt, 10) + "\n")
	return err
}

// execute runs the commands and collects their output.
func (r *runner) execute() {
	out, err := openOutput(r.at.output(), r.todo.outputLimit(), r.todo.Merge)
	if err != nil {
		r.record.fail(exitAgent, err.Error())
		return
	}
	r.say = out.say
	defer func() {
		r.killAll()
		if r.stopped == 0 { // else the pod may go at any moment: the record first
			r.at.openResults()
		}
		r.record.OutputBytes, r.record.OutputTruncated = out.close()
	}()
	environment := childEnvironment(r.at)
	if !r.todo.InPlace {
		if err := enter(environment); err != nil {
			r.record.fail(exitAgent, err.Error())
			out.say("%v", err)
			return
		}
	}
	r.limit(time.Duration(r.todo.TimeoutMS) * time.Millisecond)
	if r.install(environment, out) {
		r.record.Stage, r.record.InstallIndex = stageCommand, -1
		r.command(r.todo.Command, environment, out)
	}
}

// install runs the install commands until one fails.
func (r *runner) install(environment []string, out *output) bool {
	begin := time.Now()
	defer func() { r.record.InstallMS = time.Since(begin).Milliseconds() }()
	for index, argv := range r.todo.Install {
		r.record.Stage, r.record.InstallIndex = stageInstall, index
		if !r.command(argv, environment, out) {
			return false
		}
	}
	return true
}

// command runs one command to its end; false says that the run is over.
func (r *runner) command(argv, environment []string, out *output) bool {
	program, err := lookUp(argv[0], variable(environment, "PATH"))
	if err != nil {
		r.notStarted(argv[0], err, out)
		return false
	}
	pid, err := r.start(program, argv, environment, out.out, out.err)
	if err != nil {
		if errors.Is(err, syscall.ENOENT) {
			err = errNoInterpreter // the program itself was just found
		}
		r.notStarted(argv[0], err, out)
		return false
	}
	r.record.judge(r.wait(pid), r.supervisor)
	return r.record.ExitCode == 0
}

// notStarted records why a command could not be started, as a shell would.
func (r *runner) notStarted(program string, err error, out *output) {
	switch err {
	case syscall.ENOENT:
		r.record.NotFound = program
		r.record.fail(exitNotFound, program+": command not found")
	case errNoInterpreter:
		r.record.NotFound = program
		r.record.fail(exitNotFound, program+": "+err.Error())
	case syscall.EAGAIN, syscall.ENOMEM:
		r.record.fail(exitAgent, program+": cannot be started: "+err.Error())
	default: // EACCES, ENOEXEC, E2BIG ...
		r.record.fail(exitNotExecutable, program+": cannot be executed: "+err.Error())
	}
	out.say("%s", r.record.Error)
}

// enter changes to WORK_DIR, where commands and relative programs are found.
func enter(environment []string) error {
	return os.Chdir(variable(environment, "WORK_DIR"))
}
