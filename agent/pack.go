package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"
)

const (
	// defaultPackBytes bounds the contents that tar sends.
	defaultPackBytes = 512 << 20
	// defaultPackFiles bounds the number of files that tar sends.
	defaultPackFiles = 10_000
	// maxSkipped bounds the list of files that were left out.
	maxSkipped = 1_000
	// manifestName is the last entry; a stream without it is cut.
	manifestName = "manifest.json"
)

// manifest is the last entry of the stream. Only the files it names are good.
type manifest struct {
	Files   []packedFile  `json:"files"`
	Skipped []skippedFile `json:"skipped"`
	// Truncated says that a limit kept files out.
	Truncated bool `json:"truncated"`
}

// packedFile is one file of the stream.
type packedFile struct {
	// Path is its name in the stream.
	Path string `json:"path"`
	// Kind is "reports" or "artifacts".
	Kind   string `json:"kind"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// skippedFile is a file that was wanted and is not in the stream.
type skippedFile struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// packer writes the stream. Everything it reads was written by user code, which
// may still run: names are taken as they are found, contents are hashed as they
// are sent, and nothing outside the three folders can be reached (os.Root).
type packer struct {
	archive   *tar.Writer
	maxBytes  int64
	maxFiles  int
	bytes     int64
	taken     map[string]bool
	unlisted  int
	manifest  manifest
	failure   error
	reports   []glob
	artifacts []glob
}

// pack prints reports and artifacts as an uncompressed tar stream, which ends
// with the manifest.
func pack(args []string) int {
	p := &packer{maxBytes: defaultPackBytes, maxFiles: defaultPackFiles, taken: map[string]bool{}}
	if err := p.parse(args); err != nil {
		complain("tar: %v", err)
		return exitUsage
	}
	buffered := bufio.NewWriterSize(os.Stdout, 256<<10)
	p.archive = tar.NewWriter(buffered)
	err := p.pack(sharedLayout())
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		complain("tar: %v", err)
		return exitFailed
	}
	return exitOK
}

// parse reads the arguments. They are not those of package flag: a list of
// patterns follows its flag up to the next one.
func (p *packer) parse(args []string) error {
	lists := map[string][]string{}
	current := ""
	for _, argument := range args {
		if strings.HasPrefix(argument, "--") {
			current = argument
			continue
		}
		lists[current] = append(lists[current], argument)
	}
	var err error
	for flag, values := range lists {
		switch flag {
		case "--reports":
			p.reports, err = compileGlobs(values)
		case "--artifacts":
			p.artifacts, err = compileGlobs(values)
		case "--max-bytes":
			p.maxBytes, err = strconv.ParseInt(strings.Join(values, " "), 10, 64)
		case "--max-files":
			p.maxFiles, err = strconv.Atoi(strings.Join(values, " "))
		default:
			err = fmt.Errorf("unknown argument %q", flag)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pack sends the files of both kinds, reports first, and the manifest.
func (p *packer) pack(at layout) error {
	everything := []glob{{whole: true}}
	p.folder(at.report(), "reports", everything)
	p.folder(at.work(), "reports", p.reports)
	p.folder(at.artifact(), "artifacts", everything)
	p.folder(at.work(), "artifacts", p.artifacts)
	if p.failure != nil {
		return p.failure
	}
	if p.unlisted > 0 {
		p.manifest.Skipped = append(p.manifest.Skipped, skippedFile{"", fmt.Sprintf("and %d more", p.unlisted)})
	}
	var line bytes.Buffer
	if err := printJSON(&line, p.manifest); err != nil {
		return err
	}
	if err := p.archive.WriteHeader(header(manifestName, int64(line.Len()))); err != nil {
		return err
	}
	if _, err := p.archive.Write(line.Bytes()); err != nil {
		return err
	}
	return p.archive.Close()
}

// header is that of a plain file: what user code chose as mode, owner and time
// does not matter to the reader.
func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}
}

// folder sends the files below a folder that one of the patterns matches, in
// the order of their names.
func (p *packer) folder(folder, kind string, globs []glob) {
	if len(globs) == 0 {
		return
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			p.skip(kind+"/", err)
		}
		return
	}
	defer root.Close()
	_ = fs.WalkDir(root.FS(), ".", func(file string, entry fs.DirEntry, err error) error {
		if p.failure != nil {
			return fs.SkipAll
		}
		if err != nil { // an unreadable folder: its neighbours go on
			p.skip(kind+"/"+file, err)
			return nil
		}
		if !entry.IsDir() && matchAny(globs, file) {
			p.failure = p.file(root, file, kind)
		}
		return nil
	})
}

// file sends one file, or notes why not. The error is that of the stream.
func (p *packer) file(root *os.Root, file, kind string) error {
	name := p.nameFor(file, kind)
	if !utf8.ValidString(name) {
		p.skip(strings.ToValidUTF8(name, "\uFFFD"), errors.New("its name is not UTF-8"))
		return nil
	}
	opened, err := root.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		p.skip(name, err)
		return nil
	}
	defer opened.Close()
	info, err := opened.Stat()
	switch {
	case err != nil:
		p.skip(name, err)
	case !info.Mode().IsRegular():
		p.skip(name, errors.New("is not a regular file"))
	case len(p.manifest.Files) >= p.maxFiles:
		p.manifest.Truncated = true
		p.skip(name, fmt.Errorf("more than %d files", p.maxFiles))
	case info.Size() > p.maxBytes-p.bytes:
		p.manifest.Truncated = true
		p.skip(name, fmt.Errorf("%d bytes, more than is left of the limit of %d", info.Size(), p.maxBytes))
	default:
		return p.send(opened, info.Size(), packedFile{Path: name, Kind: kind, Bytes: info.Size()})
	}
	return nil
}

// nameFor is a file's name in the stream. Where the report folder and the work
// folder hold a file of the same name, the latter gets a folder more.
func (p *packer) nameFor(file, kind string) string {
	name := path.Join(kind, file)
	for p.taken[name] {
		file = path.Join("work", file)
		name = path.Join(kind, file)
	}
	p.taken[name] = true
	return name
}

// send writes an entry of exactly size bytes. A file that shrinks meanwhile is
// padded, because its size has been announced, and is not in the manifest; of
// one that grows the first bytes are sent.
func (p *packer) send(from io.Reader, size int64, entry packedFile) error {
	if err := p.archive.WriteHeader(header(entry.Path, size)); err != nil {
		return err
	}
	p.bytes += size
	sum := sha256.New()
	to := io.MultiWriter(p.archive, sum)
	sent, reading := io.Copy(to, io.LimitReader(from, size))
	if sent < size {
		if _, err := io.CopyN(p.archive, zeros{}, size-sent); err != nil {
			return err
		}
		if reading == nil {
			reading = errors.New("it shrank while it was read")
		}
		p.skip(entry.Path, reading)
		return nil
	}
	entry.SHA256 = hex.EncodeToString(sum.Sum(nil))
	p.manifest.Files = append(p.manifest.Files, entry)
	return nil
}

// skip notes a file that is left out, and why.
func (p *packer) skip(name string, reason error) {
	if len(p.manifest.Skipped) >= maxSkipped {
		p.unlisted++
		return
	}
	text := reason.Error()
	var failure *fs.PathError
	if errors.As(reason, &failure) { // the name is in the entry already
		text = failure.Err.Error()
	}
	p.manifest.Skipped = append(p.manifest.Skipped, skippedFile{name, text})
}

// MarshalJSON writes empty lists as such, never as null.
func (m manifest) MarshalJSON() ([]byte, error) {
	type plain manifest
	filled := plain(m)
	if filled.Files == nil {
		filled.Files = []packedFile{}
	}
	if filled.Skipped == nil {
		filled.Skipped = []skippedFile{}
	}
	return json.Marshal(filled)
}

// zeros is an endless source of zero bytes.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(into []byte) (int, error) {
	clear(into)
	return len(into), nil
}
