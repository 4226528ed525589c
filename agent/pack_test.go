package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// Patterns and the files they find.
func TestGlobs(t *testing.T) {
	files := []string{
		"a.xml", "b.txt", "d/a.xml", "d/e/junit-1.xml", "d/e/f/x.png", "coverage/index.html", "coverage/.hidden/x",
		"d/coverage/y", ".local/lib/x.png", ".local/junit.xml", "d/.e/z.png", "[odd]", "star*",
	}
	for pattern, want := range map[string]string{
		"a.xml":            "a.xml",
		"./a.xml":          "a.xml",
		"*.xml":            "a.xml",
		"*":                "a.xml b.txt [odd] star*",
		"?.xml":            "a.xml",
		"[a-b].*":          "a.xml b.txt",
		"[!a].*":           "b.txt",
		"**":               "a.xml b.txt d/a.xml d/e/junit-1.xml d/e/f/x.png coverage/index.html d/coverage/y [odd] star*",
		"**/*.xml":         "a.xml d/a.xml d/e/junit-1.xml",
		"**/junit*.xml":    "d/e/junit-1.xml",
		"**/*.png":         "d/e/f/x.png",
		"d/**":             "d/a.xml d/e/junit-1.xml d/e/f/x.png d/coverage/y",
		"d/**/*.png":       "d/e/f/x.png",
		"d/*/*.xml":        "d/e/junit-1.xml",
		"**/e/**/x.png":    "d/e/f/x.png",
		"**/**/**/a.xml":   "a.xml d/a.xml",
		"coverage/":        "coverage/index.html coverage/.hidden/x",
		"coverage//":       "coverage/index.html coverage/.hidden/x",
		"**/coverage/":     "coverage/index.html coverage/.hidden/x d/coverage/y",
		"coverage":         "",
		"coverage/*":       "coverage/index.html",
		".local/**":        ".local/lib/x.png .local/junit.xml",
		".local/":          ".local/lib/x.png .local/junit.xml",
		"**/.*/*.png":      "d/.e/z.png",
		"d/.e/*":           "d/.e/z.png",
		`\[odd\]`:          "[odd]",
		`star\*`:           "star*",
		"a.xml/":           "",
		"none/**/x":        "",
		"./":               strings.Join(files, " "),
		"**/":              strings.Join(files, " "), // ** matches no folder too: the whole work folder
		"d/e/f/x.png/more": "",
	} {
		compiled, err := compileGlob(pattern)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
		var found []string
		for _, file := range files {
			if compiled.match(file) {
				found = append(found, file)
			}
		}
		if got := strings.Join(found, " "); got != want {
			t.Errorf("%s: %s\nwant %s", pattern, got, want)
		}
	}
	for _, pattern := range []string{"", ".", "/etc/passwd", "../x", "a/../../x", "[", "a/[b"} {
		if compiled, err := compileGlob(pattern); err == nil {
			t.Errorf("%q: taken as %v", pattern, compiled)
		}
	}
}

// Many ** do not take long.
func TestGlobsAreLinear(t *testing.T) {
	compiled, err := compileGlob(strings.Repeat("**/a/", 50) + "b")
	if err != nil || compiled.match(strings.Repeat("a/", 500)+"c") {
		t.Error(compiled, err)
	}
}

// sent is a stream's entries and its manifest, which must be the last.
func sent(t *testing.T, stream string) (map[string]string, []string, manifest) {
	t.Helper()
	reader := tar.NewReader(strings.NewReader(stream))
	bodies, order := map[string]string{}, []string{}
	for {
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		bodies[header.Name] = string(body)
		order = append(order, header.Name)
	}
	var got manifest
	if err := json.Unmarshal([]byte(bodies[manifestName]), &got); err != nil || order[len(order)-1] != manifestName {
		t.Fatal(err, order)
	}
	for _, entry := range got.Files {
		sum := sha256.Sum256([]byte(bodies[entry.Path]))
		if entry.Bytes != int64(len(bodies[entry.Path])) || entry.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%+v is not what was sent", entry)
		}
	}
	return bodies, order[:len(order)-1], got
}

// filled is a volume with reports and artifacts.
func filled(t *testing.T) layout {
	at := volume(t)
	put(t, filepath.Join(at.report(), "junit.xml"), "<report/>")
	put(t, filepath.Join(at.report(), "sub", ".hidden"), "h")
	put(t, filepath.Join(at.artifact(), "db.sql"), "select")
	put(t, filepath.Join(at.work(), "junit.xml"), "<work/>")
	put(t, filepath.Join(at.work(), "b.png"), "b")
	put(t, filepath.Join(at.work(), "a", "a.png"), "a")
	put(t, filepath.Join(at.work(), "a", "secret.txt"), "s")
	return at
}

// Both folders whole and what the patterns find, in order, once for each kind;
// of two files with one name both arrive.
func TestPack(t *testing.T) {
	got := finish(t, agent(t, filled(t), nil, "tar", "--reports", "junit.xml", "**/*.xml", "--artifacts", "**/*.png", "junit.xml"))
	bodies, order, list := sent(t, got.out)
	want := []string{"reports/junit.xml", "reports/sub/.hidden", "reports/work/junit.xml",
		"artifacts/db.sql", "artifacts/a/a.png", "artifacts/b.png", "artifacts/junit.xml"}
	if !reflect.DeepEqual(order, want) || got.code != exitOK || list.Truncated || len(list.Skipped) > 0 || len(list.Files) != len(want) {
		t.Errorf("%v %+v", order, list)
	}
	if bodies["reports/junit.xml"] != "<report/>" || bodies["reports/work/junit.xml"] != "<work/>" {
		t.Error("names are mixed up")
	}
	if list.Files[0].Kind != "reports" || list.Files[6].Kind != "artifacts" {
		t.Errorf("%+v", list.Files)
	}
	again := finish(t, agent(t, filled(t), nil, "tar", "--reports", "junit.xml", "**/*.xml", "--artifacts", "**/*.png", "junit.xml"))
	if again.out != got.out {
		t.Error("the same files make another stream")
	}
}

// Without patterns the work folder stays where it is; nothing at all is a
// manifest too.
func TestPackNothing(t *testing.T) {
	if _, order, _ := sent(t, finish(t, agent(t, filled(t), nil, "tar")).out); len(order) != 3 {
		t.Error(order)
	}
	empty := finish(t, agent(t, layout{t.TempDir()}, nil, "tar", "--reports", "**"))
	if bodies, _, _ := sent(t, empty.out); bodies[manifestName] != `{"files":[],"skipped":[],"truncated":false}`+"\n" {
		t.Errorf("%q", bodies)
	}
}

// What cannot or must not be read is skipped with its reason; the rest arrives.
func TestPackSkips(t *testing.T) {
	at := filled(t)
	outside := filepath.Join(t.TempDir(), "outside")
	put(t, outside, "secret")
	for link, target := range map[string]string{
		"absolute": outside, "relative": "../../../../../../../../etc/passwd", "folder": "sub", "broken": "none",
		"loop": "loop", "good": "junit.xml", "outside": "/etc",
	} {
		os.Symlink(target, filepath.Join(at.report(), link))
	}
	syscall.Mkfifo(filepath.Join(at.report(), "pipe"), 0o644)
	os.WriteFile(filepath.Join(at.report(), "bad\xff"), nil, 0o644)
	bodies, _, list := sent(t, finish(t, agent(t, at, nil, "tar")).out)
	reasons := map[string]string{}
	for _, one := range list.Skipped {
		reasons[one.Path] = one.Reason
	}
	want := map[string]string{
		"reports/absolute": "path escapes from parent", "reports/relative": "path escapes from parent",
		"reports/outside": "path escapes from parent", "reports/folder": "is not a regular file",
		"reports/broken": "no such file or directory", "reports/loop": "too many levels of symbolic links",
		"reports/pipe": "is not a regular file", "reports/bad\uFFFD": "its name is not UTF-8",
	}
	if !reflect.DeepEqual(reasons, want) {
		t.Errorf("%q", reasons)
	}
	if bodies["reports/good"] != "<report/>" || bodies["artifacts/db.sql"] != "select" || list.Truncated {
		t.Errorf("%q", bodies)
	}
}

// Limits leave out what does not fit and say so; what fits still arrives.
func TestPackLimits(t *testing.T) {
	at := volume(t)
	for name, size := range map[string]int{"a": 6, "b": 5, "c": 4, "d": 1} {
		put(t, filepath.Join(at.artifact(), name), strings.Repeat("x", size))
	}
	for _, c := range []struct {
		args []string
		want string
		cut  bool
	}{
		{[]string{"--max-bytes", "10"}, "a c", true},
		{[]string{"--max-bytes", "16"}, "a b c d", false},
		{[]string{"--max-bytes", "0"}, "", true},
		{[]string{"--max-files", "2"}, "a b", true},
		{[]string{"--max-files", "4"}, "a b c d", false},
	} {
		_, order, list := sent(t, finish(t, agent(t, at, nil, append([]string{"tar"}, c.args...)...)).out)
		got := strings.ReplaceAll(strings.Join(order, " "), "artifacts/", "")
		if got != c.want || list.Truncated != c.cut || len(list.Files)+len(list.Skipped) != 4 {
			t.Errorf("%q: %q %+v", c.args, got, list)
		}
	}
}

// The list of what was left out is bounded.
func TestPackManySkipped(t *testing.T) {
	p := &packer{}
	for range maxSkipped + 5 {
		p.skip("x", &fs.PathError{Op: "open", Path: "x", Err: errors.New("reason")})
	}
	if len(p.manifest.Skipped) != maxSkipped || p.unlisted != 5 || p.manifest.Skipped[0].Reason != "reason" {
		t.Error(len(p.manifest.Skipped), p.unlisted)
	}
}

// A file that shrinks while it is read keeps the stream whole and is not listed;
// of one that grows the announced bytes are sent.
func TestPackChangingFiles(t *testing.T) {
	var stream bytes.Buffer
	p := &packer{archive: tar.NewWriter(&stream)}
	for _, c := range []struct{ name, text string }{{"shrinks", "12"}, {"grows", "123456"}, {"stays", "1234"}} {
		if err := p.send(strings.NewReader(c.text), 4, packedFile{Path: c.name, Bytes: 4}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.pack(layout{t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	bodies, _, list := sent(t, stream.String())
	if bodies["shrinks"] != "12\x00\x00" || bodies["grows"] != "1234" || bodies["stays"] != "1234" {
		t.Errorf("%q", bodies)
	}
	if len(list.Files) != 2 || len(list.Skipped) != 1 || list.Skipped[0] != (skippedFile{"shrinks", "it shrank while it was read"}) {
		t.Errorf("%+v", list)
	}
}

// failing takes so many bytes and then no more.
type failing struct{ left int }

// Write implements io.Writer.
func (f *failing) Write(data []byte) (int, error) {
	if f.left -= len(data); f.left < 0 {
		return 0, errors.New("the reader has gone")
	}
	return len(data), nil
}

// A reader that goes away is an error, so a cut stream is never a success.
func TestPackToNobody(t *testing.T) {
	at := filled(t)
	for left := 0; left < 4000; left += 100 {
		p := &packer{archive: tar.NewWriter(&failing{left}), maxBytes: 1000, maxFiles: 10, taken: map[string]bool{}}
		if err := p.pack(at); err == nil {
			t.Errorf("%d bytes were enough", left)
		}
	}
}

// Arguments that make no sense are refused.
func TestPackUsage(t *testing.T) {
	for _, args := range []string{"x", "--nonsense x", "--max-bytes x", "--max-files 1 2", "--reports ../x", "--artifacts [", "--max-bytes 12x"} {
		if got := finish(t, agent(t, volume(t), nil, append([]string{"tar"}, strings.Fields(args)...)...)); got.code != exitUsage || got.out != "" {
			t.Errorf("%s: %+v", args, got)
		}
	}
}
