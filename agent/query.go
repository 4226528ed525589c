package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
)

// maxRecord bounds what stat passes on: user code could put anything there.
const maxRecord = 64 << 10

// status is the answer of stat.
type status struct {
	// Source, Started and Ended tell which markers there are.
	Source  bool `json:"source"`
	Started bool `json:"started"`
	Ended   bool `json:"ended"`
	// Record is the run's record, null before its end.
	Record json.RawMessage `json:"record"`
	// OutputBytes is the size of the output file: what cat can give now.
	OutputBytes int64 `json:"output_bytes"`
}

// stat prints the status of the step as one line of JSON.
func stat(args []string) int {
	if len(args) > 0 {
		complain("stat takes no arguments")
		return exitUsage
	}
	if err := printJSON(os.Stdout, sharedLayout().status()); err != nil {
		return exitFailed
	}
	return exitOK
}

// status looks at the markers. The end marker is read before the record, which
// is written first: an ended step has its record.
func (l layout) status() status {
	result := status{Source: exists(l.source()), Started: exists(l.start()), Ended: exists(l.end())}
	result.Record = readRecord(l.record())
	if info, err := os.Lstat(l.output()); err == nil && info.Mode().IsRegular() {
		result.OutputBytes = info.Size()
	}
	return result
}

// readRecord returns the record as one line, or null if there is none to trust.
func readRecord(path string) json.RawMessage {
	null := json.RawMessage("null")
	file, err := openRegular(path)
	if err != nil {
		return null
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxRecord+1))
	var line bytes.Buffer
	if err != nil || len(data) > maxRecord || json.Compact(&line, data) != nil {
		return null
	}
	return line.Bytes()
}

// cat prints the step's output from a byte offset, as far as it is kept.
// Nothing printed yet is not an error.
func cat(args []string) int {
	flags := flag.NewFlagSet("cat", flag.ContinueOnError)
	offset := flags.Int64("offset", 0, "bytes to skip")
	limit := flags.Int64("limit", -1, "bytes to print at most; negative is all")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 || *offset < 0 {
		return exitUsage
	}
	if err := copyOutput(sharedLayout().output(), *offset, *limit); err != nil {
		complain("cat: %v", err)
		return exitFailed
	}
	return exitOK
}

// copyOutput copies a part of the file to standard output.
func copyOutput(path string, offset, limit int64) error {
	file, err := openRegular(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	var from io.Reader = file
	if limit >= 0 {
		from = io.LimitReader(file, limit)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{os.Stdout}, from, make([]byte, 256<<10))
	return err
}

// release makes the marker that ends hold.
func release(args []string) int {
	return mark("release", args, sharedLayout().release())
}

// stop asks run to end: as SIGTERM does, with the same grace.
func stop(args []string) int {
	return mark("stop", args, sharedLayout().stop())
}

// mark makes one marker for a subcommand without arguments.
func mark(command string, args []string, marker string) int {
	if len(args) > 0 {
		complain("%s takes no arguments", command)
		return exitUsage
	}
	if err := writeAtomic(marker, nil); err != nil {
		complain("%s: %v", command, err)
		return exitFailed
	}
	return exitOK
}
