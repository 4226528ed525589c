package main

import (
	"errors"
	"path"
	"strings"
)

// glob is a compiled pattern for slash-separated paths below the work folder.
//
// A part matches one name by `*`, `?`, `[a-z]`, `[!a-z]`; the part `**` matches
// any number of folders; a slash at the end means all files below the folder.
// Names that begin with a dot are matched only by parts that begin with one, as
// in a shell, so that `**/*.png` does not find what was installed below .local.
// What lies below a whole folder is taken with its hidden files.
type glob struct {
	parts []string
	whole bool
}

// compileGlob checks and splits a pattern.
func compileGlob(pattern string) (glob, error) {
	if path.IsAbs(pattern) {
		return glob{}, errors.New("a pattern is relative to the work folder")
	}
	g := glob{whole: strings.HasSuffix(pattern, "/")}
	for _, part := range strings.Split(pattern, "/") {
		switch part {
		case "", ".":
			continue
		case "..":
			return glob{}, errors.New("a pattern stays inside the work folder")
		}
		part = strings.ReplaceAll(part, "[!", "[^")
		if _, err := path.Match(part, ""); err != nil {
			return glob{}, err
		}
		g.parts = append(g.parts, part)
	}
	if len(g.parts) == 0 && !g.whole {
		return glob{}, errors.New("an empty pattern")
	}
	return g, nil
}

// compileGlobs compiles several patterns, and names the one that is wrong.
func compileGlobs(patterns []string) ([]glob, error) {
	result := make([]glob, 0, len(patterns))
	for _, pattern := range patterns {
		compiled, err := compileGlob(pattern)
		if err != nil {
			return nil, errors.New("pattern \"" + pattern + "\": " + err.Error())
		}
		result = append(result, compiled)
	}
	return result, nil
}

// match tells whether the path of a file matches.
//
// reached[i] says that the parts before i match the names so far; so the time
// is parts times names, whatever the pattern.
func (g glob) match(file string) bool {
	names := strings.Split(file, "/")
	last := len(g.parts)
	reached := make([]bool, last+1)
	reached[0] = true
	g.skip(reached)
	for _, name := range names {
		if g.whole && reached[last] { // the names so far are the folder
			return true
		}
		next := make([]bool, last+1)
		for i, part := range g.parts {
			if !reached[i] {
				continue
			}
			if part == "**" {
				next[i] = next[i] || !strings.HasPrefix(name, ".")
			} else if matchName(part, name) {
				next[i+1] = true
			}
		}
		g.skip(next)
		reached = next
	}
	return !g.whole && reached[last]
}

// skip lets every `**` that is reached match nothing.
func (g glob) skip(reached []bool) {
	for i, part := range g.parts {
		if part == "**" && reached[i] {
			reached[i+1] = true
		}
	}
}

// matchName matches one name; hidden ones need a pattern that says so.
func matchName(pattern, name string) bool {
	if strings.HasPrefix(name, ".") && !strings.HasPrefix(pattern, ".") {
		return false
	}
	matched, _ := path.Match(pattern, name)
	return matched
}

// matchAny tells whether one of the patterns matches.
func matchAny(globs []glob, file string) bool {
	for _, g := range globs {
		if g.match(file) {
			return true
		}
	}
	return false
}
