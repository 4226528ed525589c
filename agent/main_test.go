package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asAgent makes the test binary behave as the agent: the tests of processes,
// signals and exit codes start it so.
const asAgent = "AGENT_UNDER_TEST"

// patience bounds every wait; it is reached only when something is wrong.
const patience = 20 * time.Second

// TestMain is the agent itself when the tests start this binary again.
func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		os.Unsetenv(asAgent)
		main()
	}
	os.Exit(m.Run())
}

// volume is a shared volume with the folders that install makes.
func volume(t *testing.T) layout {
	t.Helper()
	at := layout{t.TempDir()}
	for _, folder := range folders {
		if err := makeFolder(filepath.Join(at.root, folder)); err != nil {
			t.Fatal(err)
		}
	}
	return at
}

// agent prepares a call of the agent on a volume; spec may be nil.
func agent(t *testing.T, at layout, todo *spec, args ...string) *exec.Cmd {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(own, args...)
	command.Env = append(os.Environ(), asAgent+"=1", sharedVariable+"="+at.root, "GORACE=atexit_sleep_ms=0")
	if todo != nil {
		data, err := json.Marshal(todo)
		if err != nil {
			t.Fatal(err)
		}
		command.Env = append(command.Env, specVariable+"="+string(data))
	}
	command.WaitDelay = patience
	t.Cleanup(func() {
		if command.Process != nil && command.ProcessState == nil {
			command.Process.Kill()
			command.Wait()
		}
	})
	return command
}

// result is how a call of the agent ended.
type result struct {
	code        int
	out, errors string
}

// finish runs a prepared call to its end.
func finish(t *testing.T, command *exec.Cmd) result {
	t.Helper()
	var out, errors bytes.Buffer
	command.Stdout, command.Stderr = &out, &errors
	if err := command.Run(); err != nil && command.ProcessState == nil {
		t.Fatal(err)
	}
	return result{command.ProcessState.ExitCode(), out.String(), errors.String()}
}

// step runs a step to its end and returns its record too.
func step(t *testing.T, at layout, todo spec, environment ...string) (result, record) {
	t.Helper()
	command := agent(t, at, &todo, "run")
	command.Env = append(command.Env, environment...)
	ended := finish(t, command)
	return ended, recordOf(t, at)
}

// recordOf reads the record, which must be there and final.
func recordOf(t *testing.T, at layout) record {
	t.Helper()
	if !exists(at.end()) {
		t.Fatal("there is no end marker")
	}
	var got record
	if err := json.Unmarshal([]byte(content(t, at.record())), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

// content is a file's text.
func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// put writes a file and its folders.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

// sh is a command line for a shell.
func sh(script string) []string {
	return []string{"sh", "-c", script}
}

// An unknown command, or none, is a usage error that shows what there is.
func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"nonsense"}, {"stat", "x"}, {"receive", "--nonsense"}, {"cat", "--offset", "-1"}} {
		if got := finish(t, agent(t, volume(t), nil, args...)); got.code != exitUsage || got.errors == "" && len(args) != 3 {
			t.Errorf("%q: exit code %d, %q", args, got.code, got.errors)
		}
	}
}

// install makes the folders and an executable copy of itself, also twice.
func TestInstall(t *testing.T) {
	at := layout{t.TempDir()}
	for range 2 {
		if got := finish(t, agent(t, at, nil, "install")); got.code != exitOK {
			t.Fatal(got)
		}
	}
	for _, folder := range folders {
		info, err := os.Stat(filepath.Join(at.root, folder))
		if err != nil || info.Mode().Perm() != 0o777 {
			t.Errorf("%s: %v %v", folder, info, err)
		}
	}
	copied := exec.Command(filepath.Join(at.root, "bin", "agent"), "stat")
	copied.Env = []string{asAgent + "=1", sharedVariable + "=" + at.root}
	if out, err := copied.Output(); err != nil || !strings.HasPrefix(string(out), `{"source":false,`) {
		t.Fatalf("%s %v", out, err)
	}
	if left, _ := os.ReadDir(filepath.Join(at.root, "bin")); len(left) != 1 {
		t.Errorf("left in bin: %v", left)
	}
}

// hold ends well when it is released, when its time is over, and by SIGTERM.
func TestHoldEnds(t *testing.T) {
	ends := map[string]func(t *testing.T, at layout, holding *exec.Cmd){
		"released": func(t *testing.T, at layout, _ *exec.Cmd) { finish(t, agent(t, at, nil, "release")) },
		"signal":   func(_ *testing.T, _ layout, holding *exec.Cmd) { holding.Process.Signal(syscall.SIGTERM) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			at := volume(t)
			holding := agent(t, at, nil, "hold")
			if err := holding.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "hold waits", func() bool { return waits(holding.Process.Pid) })
			end(t, at, holding)
			if err := holding.Wait(); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("time", func(t *testing.T) {
		if got := finish(t, agent(t, volume(t), nil, "hold", "--max", "10ms")); got.code != exitOK {
			t.Fatal(got)
		}
	})
}

// waits tells whether a process has begun to wait for a file: it holds an
// inotify descriptor then, and has installed its signal handlers before.
func waits(pid int) bool {
	descriptors, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, descriptor := range descriptors {
		if target, _ := os.Readlink(descriptor); strings.Contains(target, "inotify") {
			return true
		}
	}
	return false
}

// cat prints from an offset, at most so many bytes, and nothing before there is
// output; a link in the file's place is refused.
func TestCat(t *testing.T) {
	at := volume(t)
	if got := finish(t, agent(t, at, nil, "cat", "--offset", "3")); got != (result{}) {
		t.Errorf("no output yet: %+v", got)
	}
	put(t, at.output(), "0123456789")
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "0123456789"},
		{[]string{"--offset", "4"}, "456789"},
		{[]string{"--offset", "4", "--limit", "2"}, "45"},
		{[]string{"--offset", "10"}, ""},
		{[]string{"--offset", "99"}, ""},
		{[]string{"--limit", "0"}, ""},
	} {
		if got := finish(t, agent(t, at, nil, append([]string{"cat"}, c.args...)...)); got != (result{out: c.want}) {
			t.Errorf("%q: %+v", c.args, got)
		}
	}
	os.Remove(at.output())
	os.Symlink("/etc/passwd", at.output())
	if got := finish(t, agent(t, at, nil, "cat")); got.code != exitFailed || got.out != "" {
		t.Errorf("a link: %+v", got)
	}
}

// stat tells the markers and never trusts what lies in the record's place.
func TestStat(t *testing.T) {
	at := volume(t)
	for _, c := range []struct{ record, want string }{
		{"", `{"source":false,"started":false,"ended":false,"record":null,"output_bytes":0}`},
		{"{\"version\":\n1}", `{"source":false,"started":false,"ended":false,"record":{"version":1},"output_bytes":0}`},
		{"{broken", `{"source":false,"started":false,"ended":false,"record":null,"output_bytes":0}`},
		{`"` + strings.Repeat("x", maxRecord) + `"`, `{"source":false,"started":false,"ended":false,"record":null,"output_bytes":0}`},
	} {
		if c.record != "" {
			put(t, at.record(), c.record)
		}
		if got := finish(t, agent(t, at, nil, "stat")); got.out != c.want+"\n" {
			t.Errorf("%.20q: %+v", c.record, got)
		}
	}
}

// Containers of one pod may run under different user ids that share no group:
// each can read and change what the others left.
func TestDifferentUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("starting processes under other user ids needs root: run `sudo go test`")
	}
	tools, at := layout{t.TempDir()}, layout{t.TempDir()}
	for root := at.root; root != os.TempDir(); root = filepath.Dir(root) {
		os.Chmod(root, 0o777)
	}
	if got := finish(t, agent(t, tools, nil, "install")); got.code != exitOK {
		t.Fatal(got)
	}
	os.Chmod(tools.root, 0o755)
	as := func(user uint32, todo *spec, input []byte, args ...string) result {
		command := agent(t, at, todo, args...)
		command.Path = filepath.Join(tools.root, "bin", "agent")
		command.Dir = "/"
		command.Stdin = bytes.NewReader(input)
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		return finish(t, command)
	}
	source := framed(archive(t, file("sub/a.txt", "1"), withMode(file("sub/closed", "2"), 0o600)), 50)
	script := `set -e; cat sub/a.txt sub/closed; umask 077
		echo new > sub/b.txt; mkdir $ARTIFACT_DIR/deep .hidden; echo mine > $ARTIFACT_DIR/deep/file; echo no > .hidden/c.txt
		ln -s /etc/shadow out`
	for _, c := range []struct {
		got  result
		want string
	}{
		{as(1000, nil, nil, "install"), ""},
		{as(1001, nil, source, "receive"), `{"files":2,`},
		{as(1002, &spec{Command: sh(script), Source: true}, nil, "run"), "12"},
		{as(1001, nil, nil, "stat"), `{"source":true,"started":true,"ended":true,"record":{"version":1,"stage":"COMMAND","install_index":-1,"exit_code":0,`},
		{as(1001, nil, nil, "cat"), "12"},
		{as(1001, nil, nil, "release"), ""},
	} {
		if c.got.code != exitOK || !strings.HasPrefix(c.got.out, c.want) {
			t.Errorf("%+v", c.got)
		}
	}
	bodies, _, list := sent(t, as(1001, nil, nil, "tar", "--reports", "sub/*.txt", ".hidden/").out)
	if bodies["artifacts/deep/file"] != "mine\n" || bodies["reports/sub/a.txt"] != "1" || bodies["reports/sub/b.txt"] != "new\n" {
		t.Errorf("%q", bodies)
	}
	if len(list.Skipped) != 1 || list.Skipped[0] != (skippedFile{"reports/.hidden", "permission denied"}) {
		t.Errorf("%+v", list.Skipped)
	}
}
