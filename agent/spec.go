package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	// specVariable holds the step's description as JSON.
	specVariable = "K8S_EXECUTION_STEP"
	// defaultGrace is the time between SIGTERM and SIGKILL.
	defaultGrace = 10 * time.Second
	// defaultOutputLimit bounds the file that holds the output, in bytes.
	defaultOutputLimit = 64 << 20
)

// ownVariables are the agent's business only: the step's commands do not see them.
var ownVariables = []string{specVariable, sharedVariable, oomVariable}

// spec describes what run does. A field that is absent is zero, and zero means
// what its comment says.
type spec struct {
	// Install are the commands that run one after another before Command.
	Install [][]string `json:"install"`
	// Command is the step itself; it may not be empty.
	Command []string `json:"command"`
	// Source makes run wait until receive has unpacked the source.
	Source bool `json:"source"`
	// InPlace leaves the commands in the image's own working directory,
	// where an image that holds the tests expects them; else it is WORK_DIR.
	InPlace bool `json:"in_place"`
	// Merge gives the commands one pipe for both standard output and
	// standard error and prints all of it on standard output: the order is
	// exact then, and the output file is the container's log byte for byte.
	Merge bool `json:"merge"`
	// TimeoutMS bounds install and command together, in milliseconds; zero
	// is no limit.
	TimeoutMS int64 `json:"timeout_ms"`
	// GraceMS is the time between SIGTERM and SIGKILL; zero is defaultGrace.
	GraceMS int64 `json:"grace_ms"`
	// OutputLimit bounds the output file; zero is defaultOutputLimit.
	OutputLimit int64 `json:"output_limit"`
}

// readSpec makes the spec of the arguments and, where they name no file, of the
// environment. Flags win over what they are given with.
func readSpec(args []string) (spec, error) {
	var todo spec
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	file := flags.String("spec", "", "file that holds the step as JSON")
	source := flags.Bool("source", false, "wait for the source")
	merge := flags.Bool("merge", false, "one pipe for output and errors")
	timeout := flags.Duration("timeout", 0, "limit of install and command together")
	grace := flags.Duration("grace", 0, "time between SIGTERM and SIGKILL")
	limit := flags.Int64("output-limit", 0, "bytes of output kept as a file")
	if err := flags.Parse(args); err != nil {
		return todo, err
	}
	if err := todo.load(*file); err != nil {
		return todo, err
	}
	flags.Visit(func(given *flag.Flag) {
		switch given.Name {
		case "source":
			todo.Source = *source
		case "merge":
			todo.Merge = *merge
		case "timeout":
			todo.TimeoutMS = timeout.Milliseconds()
		case "grace":
			todo.GraceMS = grace.Milliseconds()
		case "output-limit":
			todo.OutputLimit = *limit
		}
	})
	if flags.NArg() > 0 {
		todo.Command = flags.Args()
	}
	return todo, todo.check()
}

// load reads the JSON of a file or of the environment. Unknown fields are
// refused: a description half understood is worse than none.
func (s *spec) load(file string) error {
	data := []byte(os.Getenv(specVariable))
	if file != "" {
		var err error
		if data, err = os.ReadFile(file); err != nil {
			return err
		}
	}
	if len(data) == 0 {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(s); err != nil {
		return fmt.Errorf("the step's description cannot be read: %w", err)
	}
	return nil
}

// check refuses what cannot be run.
func (s *spec) check() error {
	if len(s.Command) == 0 {
		return fmt.Errorf("no command: neither in %s nor in an argument", specVariable)
	}
	for _, argv := range append([][]string{s.Command}, s.Install...) {
		if len(argv) == 0 || argv[0] == "" {
			return errors.New("a command without a name")
		}
	}
	if s.TimeoutMS < 0 || s.GraceMS < 0 || s.OutputLimit < 0 {
		return errors.New("a negative limit")
	}
	return nil
}

// grace is the time between SIGTERM and SIGKILL.
func (s *spec) grace() time.Duration {
	if s.GraceMS == 0 {
		return defaultGrace
	}
	return time.Duration(s.GraceMS) * time.Millisecond
}

// outputLimit is the largest size of the output file, in bytes.
func (s *spec) outputLimit() int64 {
	if s.OutputLimit == 0 {
		return defaultOutputLimit
	}
	return s.OutputLimit
}

// childEnvironment is the environment of the step's commands: the agent's own,
// without the agent's variables, with the folders where they are not given, and
// with the programs that `pip install --user` puts below PYTHONUSERBASE.
func childEnvironment(at layout) []string {
	var result []string
	given := map[string]string{}
	for _, pair := range os.Environ() {
		key, value, _ := strings.Cut(pair, "=")
		if slices.Contains(ownVariables, key) || key == "PATH" || key == "PWD" {
			continue
		}
		given[key] = value
		result = append(result, pair)
	}
	folders := [][2]string{{"WORK_DIR", at.work()}, {"REPORT_DIR", at.report()}, {"ARTIFACT_DIR", at.artifact()}}
	for _, folder := range folders {
		if given[folder[0]] == "" {
			result = append(result, folder[0]+"="+folder[1])
		}
	}
	// PWD follows the change of folder in enter, for programs that trust it.
	result = append(result, "PWD="+variable(result, "WORK_DIR"))
	return append(result, "PATH="+searchPath(given["PYTHONUSERBASE"]))
}

// searchPath is where the commands are looked for.
func searchPath(userBase string) string {
	search := os.Getenv("PATH")
	if search == "" {
		search = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	if userBase != "" {
		search = userBase + "/bin:" + search
	}
	return search
}

// variable returns the value of a variable in an environment.
func variable(environment []string, key string) string {
	for _, pair := range environment {
		if value, found := strings.CutPrefix(pair, key+"="); found {
			return value
		}
	}
	return ""
}
