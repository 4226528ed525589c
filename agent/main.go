// Command k8s-execution-agent is the one program of ours inside the pods of a
// test step. One binary plays every part: `install` puts it on the volume that
// the pod's containers share, `run` is process 1 of the step's container,
// `hold` of the collector's, and `receive`, `stat`, `cat`, `tar`, `stop`
// and `release` are called in the collector through exec.
//
// It talks to nobody: no network, no credentials, no Kubernetes API. All it
// knows arrives as arguments, environment and files, all it says leaves as
// files, standard output and exit codes. docs/agent.md is the reference.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// Exit codes of the agent itself, beside those of the step's own command. They
// are the ones shells, env(1) and timeout(1) use.
const (
	exitOK            = 0
	exitFailed        = 1
	exitUsage         = 2
	exitTimedOut      = 124
	exitAgent         = 125
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignalBase    = 128
)

// name is how the agent introduces its messages.
const name = "k8s-execution-agent"

// usage lists the subcommands.
const usage = `usage: k8s-execution-agent COMMAND
  install                             copy the agent to the shared volume and make its folders
  receive [--max-bytes N] [--max-files N]
                                      unpack the framed tar.gz on standard input into the work folder
  run [--spec FILE] [--source] [--merge] [--timeout D] [--grace D] [--output-limit N] [-- ARGV...]
                                      run the step described by K8S_EXECUTION_STEP
  hold [--max D]                      wait until released
  release                             end hold
  stop                                ask run to end, as SIGTERM does
  stat                                print what happened so far as one line of JSON
  cat [--offset N] [--limit N]        print the step's output from a byte offset
  tar [--reports GLOB...] [--artifacts GLOB...] [--max-bytes N] [--max-files N]
                                      print reports and artifacts as a tar stream
`

// main runs the named subcommand and exits with its code.
func main() {
	os.Exit(dispatch(os.Args[1:]))
}

// dispatch finds the subcommand; an unknown one is a usage error.
func dispatch(args []string) int {
	commands := map[string]func([]string) int{
		"install": install, "receive": receive, "run": run, "hold": hold,
		"release": release, "stop": stop, "stat": stat, "cat": cat, "tar": pack,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprint(os.Stderr, usage)
		return exitUsage
	}
	return commands[args[0]](args[1:])
}

// complain writes one message of the agent's own to standard error.
func complain(format string, values ...any) {
	fmt.Fprintf(os.Stderr, name+": "+format+"\n", values...)
}

// printJSON writes value as one line of JSON.
func printJSON(to io.Writer, value any) error {
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
