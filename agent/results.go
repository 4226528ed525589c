package main

import (
	"io/fs"
	"os"
	"strings"
)

// openResults lets the collector, which may have another user id, read what the
// step wrote with a strict mask. Hidden folders stay as they are: installed
// packages are there, and patterns reach them only by name. What cannot be
// changed is not an error: tar says what it could not read.
func (l layout) openResults() {
	for _, folder := range []string{l.report(), l.artifact(), l.work()} {
		root, err := os.OpenRoot(folder)
		if err != nil {
			continue
		}
		_ = fs.WalkDir(root.FS(), ".", func(file string, entry fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && file != "." {
				return fs.SkipDir
			}
			openOne(root, file, entry)
			return nil
		})
		root.Close()
	}
}

// openOne makes a file readable, a folder readable and searchable for all.
func openOne(root *os.Root, file string, entry fs.DirEntry) {
	wanted := os.FileMode(0o444)
	if entry.IsDir() {
		wanted = 0o555
	}
	info, err := entry.Info()
	if err != nil || !entry.IsDir() && !entry.Type().IsRegular() || info.Mode()&wanted == wanted {
		return
	}
	// Failing means it is another user's.
	_ = root.Chmod(file, info.Mode()|wanted)
}
