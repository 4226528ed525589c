package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fixed clears what differs from run to run, after a look at it.
func fixed(t *testing.T, got record) record {
	t.Helper()
	if got.StartedAt == 0 || got.FinishedAt < got.StartedAt || got.InstallMS < 0 {
		t.Errorf("times: %+v", got)
	}
	got.StartedAt, got.FinishedAt, got.InstallMS = 0, 0, 0
	return got
}

// ending is a step and how it has to end.
type ending struct {
	todo spec
	code int
	want record
	out  string
	err  string
}

// endings are the ways a step ends alone.
func endings() map[string]ending {
	const message = name + ": "
	return map[string]ending{
		"passes": {spec{Command: sh("echo hi")}, 0, record{Stage: stageCommand, InstallIndex: -1}, "hi\n", ""},
		"fails": {spec{Command: sh("echo oh >&2; exit 3")}, 3,
			record{Stage: stageCommand, InstallIndex: -1, ExitCode: 3}, "", "oh\n"},
		"is killed": {spec{Command: sh("kill -9 $$")}, 137,
			record{Stage: stageCommand, InstallIndex: -1, ExitCode: 137, Signal: 9}, "", ""},
		"installs": {spec{Install: [][]string{sh("echo 1"), sh("echo 2")}, Command: sh("echo 3")}, 0,
			record{Stage: stageCommand, InstallIndex: -1}, "1\n2\n3\n", ""},
		"install fails": {spec{Install: [][]string{sh("true"), sh("exit 7"), sh("echo no")}, Command: sh("echo no")}, 7,
			record{Stage: stageInstall, InstallIndex: 1, ExitCode: 7}, "", ""},
		"not found": {spec{Command: []string{"no-such-program"}}, 127,
			record{Stage: stageCommand, InstallIndex: -1, ExitCode: 127, NotFound: "no-such-program",
				Error: "no-such-program: command not found"}, "", message + "no-such-program: command not found\n"},
		"install not found": {spec{Install: [][]string{{"./none"}}, Command: sh("echo no")}, 127,
			record{Stage: stageInstall, ExitCode: 127, NotFound: "./none",
				Error: "./none: command not found"}, "", message + "./none: command not found\n"},
		"not executable": {spec{Command: []string{"./data"}}, 126,
			record{Stage: stageCommand, InstallIndex: -1, ExitCode: 126,
				Error: "./data: cannot be executed: permission denied"}, "",
			message + "./data: cannot be executed: permission denied\n"},
		"no program at all": {spec{Command: []string{"./noise"}}, 126,
			record{Stage: stageCommand, InstallIndex: -1, ExitCode: 126,
				Error: "./noise: cannot be executed: exec format error"}, "",
			message + "./noise: cannot be executed: exec format error\n"},
		"no interpreter": {spec{Command: []string{"./script"}}, 127,
			record{Stage: stageCommand, InstallIndex: -1, ExitCode: 127, NotFound: "./script",
				Error: "./script: the interpreter named in its first line is not found"}, "",
			message + "./script: the interpreter named in its first line is not found\n"},
		"no command": {spec{}, 125,
			record{Stage: stageSource, InstallIndex: -1, ExitCode: 125,
				Error: "no command: neither in K8S_EXECUTION_STEP nor in an argument"}, "",
			message + "no command: neither in K8S_EXECUTION_STEP nor in an argument\n"},
	}
}

// Exit code, record, output and stage of a step.
func TestRunEnds(t *testing.T) {
	for name, c := range endings() {
		t.Run(name, func(t *testing.T) {
			at := volume(t)
			put(t, filepath.Join(at.work(), "data"), "x")
			put(t, filepath.Join(at.work(), "noise"), "x")
			put(t, filepath.Join(at.work(), "script"), "#!/no/such/interpreter\n")
			os.Chmod(filepath.Join(at.work(), "noise"), 0o755)
			os.Chmod(filepath.Join(at.work(), "script"), 0o755)
			got, kept := step(t, at, c.todo)
			if got != (result{c.code, c.out, c.err}) {
				t.Errorf("ended with %+v", got)
			}
			c.want.Version = 1
			if c.want.Stage != stageSource { // else nothing was opened
				c.want.OutputBytes = int64(len(c.out) + len(c.err))
				if text := content(t, at.output()); text != c.out+c.err {
					t.Errorf("output file: %q", text)
				}
			}
			if kept = fixed(t, kept); kept != c.want {
				t.Errorf("record %+v\nwant   %+v", kept, c.want)
			}
		})
	}
}

// The command runs in WORK_DIR with the folders' names and without the agent's
// own variables; programs of PYTHONUSERBASE are found; nothing comes on stdin.
func TestRunEnvironment(t *testing.T) {
	at := volume(t)
	put(t, filepath.Join(at.work(), "base", "bin", "mine"), "#!/bin/sh\necho found\n")
	os.Chmod(filepath.Join(at.work(), "base", "bin", "mine"), 0o755)
	script := `pwd; echo "$PWD $WORK_DIR $REPORT_DIR $ARTIFACT_DIR $K8S_EXECUTION_STEP$K8S_EXECUTION_SHARED$K8S_EXECUTION_OOM_FILE $K8S_EXECUTION_SERVER"; cat; mine`
	got, _ := step(t, at, spec{Command: sh(script)}, "REPORT_DIR=/given", oomVariable+"=/none",
		"K8S_EXECUTION_SERVER=theirs", "PYTHONUSERBASE="+filepath.Join(at.work(), "base"))
	work := at.work()
	if want := work + "\n" + work + " " + work + " /given " + at.artifact() + "  theirs\nfound\n"; got.out != want {
		t.Errorf("%q\nwant %q", got.out, want)
	}
	missing := volume(t)
	if got, kept := step(t, missing, spec{Command: sh("echo no")}, "WORK_DIR=/no/such"); got.code != exitAgent ||
		kept.Error != "chdir /no/such: no such file or directory" {
		t.Errorf("%+v %+v", got, kept)
	}
}

// The step can be described by a file and by arguments too, but never by half.
func TestRunSpecs(t *testing.T) {
	described := filepath.Join(t.TempDir(), "step.json")
	put(t, described, `{"command": ["echo", "file"], "timeout_ms": 60000}`)
	for name, c := range map[string]struct {
		args        []string
		environment string
		want        result
	}{
		"file":        {[]string{"--spec", described}, `{"command": ["false"]}`, result{0, "file\n", ""}},
		"arguments":   {[]string{"--timeout", "9s", "--grace=1s", "--", "echo", "--x"}, "", result{0, "--x\n", ""}},
		"merged":      {[]string{"--merge", "--", "sh", "-c", "echo e >&2"}, "", result{0, "e\n", ""}},
		"unknown":     {nil, `{"command": ["true"], "comand": []}`, result{125, "", "unknown field \"comand\""}},
		"no JSON":     {nil, `echo`, result{125, "", "cannot be read"}},
		"no file":     {[]string{"--spec", "/none"}, "", result{125, "", "/none"}},
		"nameless":    {nil, `{"command": ["true"], "install": [[]]}`, result{125, "", "without a name"}},
		"negative":    {nil, `{"command": ["true"], "grace_ms": -1}`, result{125, "", "negative"}},
		"unknown arg": {[]string{"--nonsense"}, `{"command": ["true"]}`, result{125, "", "nonsense"}},
	} {
		t.Run(name, func(t *testing.T) {
			command := agent(t, volume(t), nil, append([]string{"run"}, c.args...)...)
			command.Env = append(command.Env, specVariable+"="+c.environment)
			got := finish(t, command)
			if got.code != c.want.code || got.out != c.want.out || !strings.Contains(got.errors, c.want.errors) {
				t.Errorf("%+v", got)
			}
		})
	}
	at := volume(t)
	if got := finish(t, agent(t, at, nil, "run", "--help")); got.code != exitUsage || exists(at.start()) {
		t.Errorf("--help: %+v", got)
	}
}

// A second start refuses, runs nothing and leaves the record as it is.
func TestRunStartsOnce(t *testing.T) {
	at := volume(t)
	todo := spec{Command: sh("echo ran >> ran")}
	step(t, at, todo)
	before := content(t, at.record())
	again := finish(t, agent(t, at, &todo, "run"))
	if again.code != exitAgent || !strings.Contains(again.errors, "started before") {
		t.Errorf("%+v", again)
	}
	if content(t, at.record()) != before || content(t, filepath.Join(at.work(), "ran")) != "ran\n" {
		t.Error("the second start did something")
	}
}

// Of many that start at the same moment, exactly one runs.
func TestRunStartsOnceOfMany(t *testing.T) {
	at := volume(t)
	todo := spec{Command: sh("echo ran >> ran"), Source: true}
	var all []*exec.Cmd
	for range 8 {
		one := agent(t, at, &todo, "run")
		if err := one.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	eventually(t, "all wait", func() bool { return waits(all[0].Process.Pid) && waits(all[7].Process.Pid) })
	put(t, at.source(), "{}")
	codes := map[int]int{}
	for _, one := range all {
		one.Wait()
		codes[one.ProcessState.ExitCode()]++
	}
	if codes[0] != 1 || codes[exitAgent] != 7 || content(t, filepath.Join(at.work(), "ran")) != "ran\n" {
		t.Errorf("exit codes %v", codes)
	}
}

// waiting starts a step that has to wait for its source.
func waiting(t *testing.T, at layout, script string) *exec.Cmd {
	t.Helper()
	command := agent(t, at, &spec{Command: sh(script), Source: true}, "run")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it waits", func() bool { return waits(command.Process.Pid) })
	if exists(at.start()) {
		t.Fatal("started without its source")
	}
	return command
}

// The step begins when the source comes, not at the next look at the clock. The
// best of three counts: this machine may be busy.
func TestRunWaitsForTheSource(t *testing.T) {
	best := patience
	for range 3 {
		at := volume(t)
		command := waiting(t, at, "true")
		begin := time.Now()
		if err := writeAtomic(at.source(), nil); err != nil {
			t.Fatal(err)
		}
		if err := command.Wait(); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(begin))
	}
	if best > recheck/2 {
		t.Errorf("took %s: it was not woken", best)
	}
}

// A step that is stopped while it waits leaves a record and cannot start later.
func TestRunStoppedWhileWaiting(t *testing.T) {
	at := volume(t)
	command := waiting(t, at, "echo ran > ran")
	command.Process.Signal(syscall.SIGTERM)
	command.Wait()
	want := record{Version: 1, Stage: stageSource, InstallIndex: -1, ExitCode: 143, Stopped: true,
		Error: "stopped by signal 15 while waiting for the source"}
	if got := fixed(t, recordOf(t, at)); got != want || command.ProcessState.ExitCode() != 143 {
		t.Errorf("%+v, exit code %d", got, command.ProcessState.ExitCode())
	}
	if !exists(at.start()) || exists(filepath.Join(at.work(), "ran")) {
		t.Error("it could be started later, or was")
	}
}

// The time limit ends install and command together: SIGTERM to the group, and
// after the grace SIGKILL. Who uses the grace to end by itself is not killed.
func TestRunTimeLimit(t *testing.T) {
	for name, c := range map[string]struct {
		todo   spec
		stage  stage
		signal int
		out    string
	}{
		"obeys": {spec{Command: sh("exec sleep 60"), TimeoutMS: 50}, stageCommand, 15, ""},
		"ends by itself": {spec{Command: sh(`trap 'echo bye; exit 0' TERM; echo on; while :; do sleep 0.01; done`), TimeoutMS: 1000},
			stageCommand, 0, "on\nbye\n"},
		"is killed":  {spec{Command: sh(`trap '' TERM; while :; do sleep 0.01; done`), TimeoutMS: 1000, GraceMS: 50}, stageCommand, 9, ""},
		"in install": {spec{Install: [][]string{sh("exec sleep 60")}, Command: sh("echo no"), TimeoutMS: 50}, stageInstall, 15, ""},
		"is stopped": {spec{Command: sh("kill -STOP $$"), TimeoutMS: 50}, stageCommand, 15, ""},
		"child of a shell writes its report": {spec{TimeoutMS: 1000, Command: sh(
			`sh -c "trap 'sleep 0.1; echo report; exit' TERM; echo on; while :; do sleep 0.01; done"; echo no`)},
			stageCommand, 15, "on\nreport\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, kept := step(t, volume(t), c.todo)
			if got.code != exitTimedOut || !kept.TimedOut || kept.ExitCode != exitTimedOut || kept.Stage != c.stage ||
				kept.Signal != c.signal || got.out != c.out || !strings.Contains(got.errors, "time limit is reached") {
				t.Errorf("%+v\n%+v", got, kept)
			}
		})
	}
}

// started starts a step and waits until its command has written a file.
func started(t *testing.T, at layout, todo spec, file string) *exec.Cmd {
	t.Helper()
	command := agent(t, at, &todo, "run")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, file+" is written", func() bool { return exists(filepath.Join(at.work(), file)) })
	return command
}

// Signals reach the command; SIGTERM and SIGINT end the run, and a command that
// then exits with 0 has not passed.
func TestRunForwardsSignals(t *testing.T) {
	const loop = "; echo > on; while :; do sleep 0.01; done"
	for name, c := range map[string]struct {
		script string
		send   syscall.Signal
		code   int
		signal int
		reason string
	}{
		"TERM":         {"true" + loop, syscall.SIGTERM, 143, 15, "stopped by signal 15, killed by signal 15 (terminated)"},
		"INT":          {"trap 'exit 5' INT" + loop, syscall.SIGINT, 5, 0, "stopped by signal 2, exit code 5"},
		"TERM, exit 0": {"trap 'exit 0' TERM" + loop, syscall.SIGTERM, 143, 0, "stopped by signal 15, exit code 0"},
		"TERM ignored": {"trap '' TERM" + loop, syscall.SIGTERM, 137, 9, "stopped by signal 15, killed by signal 9 (killed)"},
		"USR1":         {"trap 'exit 6' USR1" + loop, syscall.SIGUSR1, 6, 0, ""},
		"HUP":          {"trap 'exit 7' HUP" + loop, syscall.SIGHUP, 7, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			at := volume(t)
			command := started(t, at, spec{Command: sh(c.script), GraceMS: 100}, "on")
			command.Process.Signal(c.send)
			command.Wait()
			got := recordOf(t, at)
			if command.ProcessState.ExitCode() != c.code || got.ExitCode != c.code || got.Signal != c.signal ||
				got.Error != c.reason || got.Stopped != (c.reason != "") {
				t.Errorf("exit code %d, %+v", command.ProcessState.ExitCode(), got)
			}
		})
	}
}

// In place, the commands stay where the container started; else they are in
// WORK_DIR.
func TestRunInPlace(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, inPlace := range []bool{true, false} {
		at := volume(t)
		got := finish(t, agent(t, at, &spec{Command: sh("pwd"), InPlace: inPlace}, "run"))
		want := at.work()
		if inPlace {
			want = here
		}
		if got.out != want+"\n" {
			t.Errorf("in place %v: %q, want %q", inPlace, got.out, want)
		}
	}
}

// The stop subcommand, called beside the run, ends it as SIGTERM does.
func TestStopEndsRun(t *testing.T) {
	at := volume(t)
	command := started(t, at, spec{Command: sh("echo > on; while :; do sleep 0.01; done"), GraceMS: 100}, "on")
	if got := finish(t, agent(t, at, nil, "stop")); got.code != exitOK {
		t.Fatalf("stop: exit code %d, %q", got.code, got.errors)
	}
	command.Wait()
	if got := recordOf(t, at); got.ExitCode != 143 || !got.Stopped {
		t.Errorf("%+v", got)
	}
}

// A stop during an install command does not go on to the next one.
func TestRunStoppedInInstall(t *testing.T) {
	at := volume(t)
	first := sh("trap 'exit 0' TERM; echo > on; while :; do sleep 0.01; done")
	command := started(t, at, spec{Install: [][]string{first}, Command: sh("echo > ran")}, "on")
	command.Process.Signal(syscall.SIGTERM)
	command.Wait()
	if got := recordOf(t, at); got.ExitCode != 143 || got.Stage != stageInstall || exists(filepath.Join(at.work(), "ran")) {
		t.Errorf("%+v", got)
	}
}

// Nothing outlives the run, wherever it hid, and nothing delays its end.
func TestRunLeavesNoProcess(t *testing.T) {
	at := volume(t)
	script := `sleep 61 & echo $! >> pids; setsid sh -c 'sleep 62 & echo $! >> pids' & wait $!; exit 4`
	got, _ := step(t, at, spec{Install: [][]string{sh("sleep 60 & echo $! >> pids")}, Command: sh(script)})
	pids := strings.Fields(content(t, filepath.Join(at.work(), "pids")))
	if got.code != 4 || len(pids) != 3 {
		t.Fatalf("%+v %v", got, pids)
	}
	for _, pid := range pids {
		if number, _ := strconv.Atoi(pid); syscall.Kill(number, 0) != syscall.ESRCH {
			t.Errorf("process %s is still there", pid)
		}
	}
}

// Orphans are reaped while the command runs.
func TestRunReapsOrphans(t *testing.T) {
	at := volume(t)
	script := `
		sh -c 'sleep 0 & echo $! > orphan'
		for i in $(seq 1000); do [ -e /proc/$(cat orphan) ] || { echo reaped; exit; }; sleep 0.01; done`
	if got, _ := step(t, at, spec{Command: sh(script)}); got.out != "reaped\n" {
		t.Errorf("%+v", got)
	}
}

// The file has both streams in order of arrival, the container's log has each
// in its own; merged, there is one and the order is exact.
func TestRunOutputOrder(t *testing.T) {
	spaced := sh(`
		arrived() { until grep -q "$1" "$REPORT_DIR/../output/log"; do sleep 0.01; done; }
		for i in 1 2 3; do echo out $i; arrived "out $i"; echo err $i >&2; arrived "err $i"; done`)
	at := volume(t)
	got, _ := step(t, at, spec{Command: spaced})
	if got.out != "out 1\nout 2\nout 3\n" || got.errors != "err 1\nerr 2\nerr 3\n" {
		t.Errorf("%+v", got)
	}
	const both = "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"
	if text := content(t, at.output()); text != both {
		t.Errorf("file: %q", text)
	}
	at = volume(t)
	var want strings.Builder
	for i := 1; i <= 2000; i++ {
		want.WriteString("o" + strconv.Itoa(i) + "e" + strconv.Itoa(i))
	}
	fast := sh("i=0; while [ $i -lt 2000 ]; do i=$((i+1)); printf o$i; printf e$i >&2; done")
	got, _ = step(t, at, spec{Command: fast, Merge: true})
	if got.out != want.String() || got.errors != "" || content(t, at.output()) != want.String() {
		t.Error("merged streams are out of order")
	}
}

// Bytes are passed on as they come: no line is waited for, none is changed.
func TestRunOutputIsPrompt(t *testing.T) {
	at := volume(t)
	script := `printf 'no \000\377 newline'; while [ ! -e go ]; do sleep 0.01; done`
	command := agent(t, at, &spec{Command: sh(script)}, "run")
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	const want = "no \x00\xff newline"
	buffer := make([]byte, 100)
	count, _ := out.Read(buffer)
	if string(buffer[:count]) != want || content(t, at.output()) != want && content(t, at.output()) != "" {
		t.Errorf("%q", buffer[:count])
	}
	eventually(t, "the file has it", func() bool { return content(t, at.output()) == want })
	put(t, filepath.Join(at.work(), "go"), "")
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
}

// The file ends at the limit, the log does not; all bytes are counted.
func TestRunOutputLimit(t *testing.T) {
	at := volume(t)
	got, kept := step(t, at, spec{Command: sh("printf 12345; printf 67890; printf abc >&2"), OutputLimit: 7})
	if got != (result{0, "1234567890", "abc"}) || content(t, at.output()) != "1234567" ||
		kept.OutputBytes != 13 || !kept.OutputTruncated {
		t.Errorf("%+v %+v", got, kept)
	}
}

// Without a place for the file, and without a reader of the log, the step runs.
func TestRunWithoutOutput(t *testing.T) {
	at := volume(t)
	os.Remove(filepath.Dir(at.output()))
	got, kept := step(t, at, spec{Command: sh("echo hi")})
	if got.code != 0 || got.out != "hi\n" || !strings.Contains(got.errors, "not kept") || !kept.OutputTruncated {
		t.Errorf("%+v %+v", got, kept)
	}
	at = volume(t)
	command := agent(t, at, &spec{Command: sh("seq 1 100000; echo > ran")}, "run")
	reading, writing, _ := os.Pipe()
	command.Stdout = writing
	reading.Close()
	err := command.Run()
	writing.Close()
	if err != nil || !exists(filepath.Join(at.work(), "ran")) || recordOf(t, at).OutputBytes != 588895 {
		t.Errorf("%v %+v", err, recordOf(t, at))
	}
}

// Much output arrives whole.
func TestRunMuchOutput(t *testing.T) {
	at := volume(t)
	got, kept := step(t, at, spec{Command: sh("head -c 20000000 /dev/zero")})
	if len(got.out) != 20_000_000 || kept.OutputBytes != 20_000_000 || kept.OutputTruncated {
		t.Errorf("%d %+v", len(got.out), kept)
	}
	if info, err := os.Stat(at.output()); err != nil || info.Size() != 20_000_000 {
		t.Error(info, err)
	}
}

// The counter's growth is recorded, for both cgroup versions' formats.
func TestRunCountsOOMKills(t *testing.T) {
	for _, format := range []string{"low 0\noom 9\noom_kill %d\noom_group_kill 5\n", "oom_kill_disable 0\nunder_oom 0\noom_kill %d\n"} {
		at := volume(t)
		counter := filepath.Join(at.work(), "events")
		put(t, counter, strings.ReplaceAll(format, "%d", "2"))
		script := "cat > events <<'END'\n" + strings.ReplaceAll(format, "%d", "5") + "END\nkill -9 $$"
		if _, kept := step(t, at, spec{Command: sh(script)}, oomVariable+"="+counter); kept.OOMKills != 3 || kept.Signal != 9 {
			t.Errorf("%+v", kept)
		}
	}
}
