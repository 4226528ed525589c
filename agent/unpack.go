package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// kind is what an archive's entry makes.
type kind byte

const (
	kindFolder kind = iota + 1
	kindFile
	kindLink
)

// errTooBig says that the archive unpacks to more than is allowed.
var errTooBig = errors.New("unpacks to more bytes than are allowed")

// unpacker writes an untrusted tar archive into an empty folder.
//
// Every name is checked as text, every parent must be a real folder of this
// archive (never a symbolic link), and the operations go through os.Root, so
// that an oversight in the first two still cannot leave the folder. Ownership,
// setuid, setgid and sticky bits and times are not taken over.
type unpacker struct {
	root *os.Root
	// maxBytes bounds the unpacked bytes, maxEntries both the entries read
	// and the names made.
	maxBytes   int64
	maxEntries int
	// made is every name so far; entries counts what was read, files the
	// files and links there are, bytes their contents.
	made    map[string]kind
	entries int
	files   int
	bytes   int64
}

// unpack reads a tar.gz to its end, checksum included.
func (u *unpacker) unpack(stream io.Reader) error {
	u.made = map[string]kind{".": kindFolder}
	plain, err := gzip.NewReader(stream)
	if err != nil {
		return fmt.Errorf("not a gzip stream: %w", err)
	}
	// Headers and padding are bounded too: a tar of nothing but headers can
	// be a bomb as well.
	const perEntry, slack = 4096, 1 << 20
	bounded := &boundedReader{plain, u.maxBytes + int64(u.maxEntries)*perEntry + slack}
	archive := tar.NewReader(bounded)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("not a tar archive: %w", err)
		}
		if err := u.entry(header, archive); err != nil {
			return fmt.Errorf("%q: %w", header.Name, err)
		}
	}
	_, err = io.Copy(io.Discard, bounded)
	return err
}

// entry makes one entry of the archive, or says why it must not be made.
func (u *unpacker) entry(header *tar.Header, content io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader { // `git archive` writes the commit there
		return nil
	}
	if u.entries++; u.entries > u.maxEntries {
		return u.errTooMany()
	}
	name, err := safeName(header.Name)
	if err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeDir:
		return u.folder(name)
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.file(name, header, content)
	case tar.TypeSymlink:
		return u.symlink(name, header.Linkname)
	case tar.TypeLink:
		return u.hardlink(name, header.Linkname)
	case tar.TypeChar, tar.TypeBlock:
		return errors.New("is a device")
	case tar.TypeFifo:
		return errors.New("is a named pipe")
	default:
		return fmt.Errorf("is of the unknown type %q", header.Typeflag)
	}
}

// folder makes a folder and its parents.
func (u *unpacker) folder(name string) error {
	switch u.made[name] {
	case kindFolder:
		return nil
	case kindFile, kindLink:
		return fmt.Errorf("%q is there already and is no folder", name)
	}
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	if err := u.remember(name, kindFolder); err != nil {
		return err
	}
	return u.root.Mkdir(name, 0o777)
}

// file writes a regular file; the last of several with one name wins.
func (u *unpacker) file(name string, header *tar.Header, content io.Reader) error {
	if header.Size > u.maxBytes-u.bytes {
		return errTooBig
	}
	if err := u.place(name, kindFile); err != nil {
		return err
	}
	const create = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	file, err := u.root.OpenFile(name, create, sharedMode(header.Mode))
	if err != nil {
		return err
	}
	written, err := io.Copy(file, io.LimitReader(content, u.maxBytes-u.bytes+1))
	u.bytes += written
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err == nil && u.bytes > u.maxBytes {
		err = errTooBig
	}
	return err
}

// symlink makes a symbolic link that stays inside.
func (u *unpacker) symlink(name, target string) error {
	if err := safeTarget(name, target); err != nil {
		return err
	}
	if err := u.place(name, kindLink); err != nil {
		return err
	}
	return u.root.Symlink(target, name)
}

// hardlink makes another name of a file of this archive.
func (u *unpacker) hardlink(name, target string) error {
	target, err := safeName(target)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	if u.made[target] != kindFile || target == name {
		return fmt.Errorf("hard link to %q, which is not an earlier file of the archive", target)
	}
	if err := u.place(name, kindFile); err != nil {
		return err
	}
	return u.root.Link(target, name)
}

// place makes room for a file or link: its parents are there, and it is not.
func (u *unpacker) place(name string, what kind) error {
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	switch u.made[name] {
	case kindFolder:
		return errors.New("is there already as a folder")
	case kindFile, kindLink:
		// Removed, not overwritten: it may have a second name.
		if err := u.root.Remove(name); err != nil {
			return err
		}
	default:
		u.files++
	}
	return u.remember(name, what)
}

// remember notes what a name is from now on and refuses one name too many:
// parents that have no entry of their own count as well.
func (u *unpacker) remember(name string, what kind) error {
	if u.made[name] = what; len(u.made) > u.maxEntries+1 { // "." is always there
		return u.errTooMany()
	}
	return nil
}

// errTooMany says that the archive holds more than is allowed.
func (u *unpacker) errTooMany() error {
	return fmt.Errorf("more than %d entries", u.maxEntries)
}

// sharedMode is an archive's mode for a pod whose containers may differ in user
// id: no special bits, the owner's rights for the group (the volume's fsGroup)
// too, and the owner's reading and executing for all.
func sharedMode(mode int64) os.FileMode {
	owner := os.FileMode(mode>>6) & 0o7
	return os.FileMode(mode)&0o777 | owner<<3 | owner&0o5
}

// safeName cleans an entry's name; absolute names and `..` are refused.
func safeName(raw string) (string, error) {
	if raw == "" {
		return raw, errors.New("has no name")
	}
	if path.IsAbs(raw) {
		return raw, errors.New("has an absolute name")
	}
	for _, part := range strings.Split(raw, "/") {
		if part == ".." {
			return raw, errors.New("has .. in its name")
		}
	}
	return path.Clean(raw), nil
}

// safeTarget refuses a symbolic link that leads out of the folder. Parents are
// real folders, so leading `..` climb exactly the link's depth; a `..` after a
// name is refused, since that name may be a link whose parent is elsewhere.
func safeTarget(link, target string) error {
	if target == "" || path.IsAbs(target) {
		return fmt.Errorf("links to %q: only relative links are taken", target)
	}
	depth, descended := strings.Count(link, "/"), false
	for _, part := range strings.Split(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 || descended {
				return fmt.Errorf("links to %q, which may lie outside", target)
			}
		default:
			descended = true
		}
	}
	return nil
}

// boundedReader fails, instead of ending, once more than left bytes were read.
type boundedReader struct {
	from io.Reader
	left int64
}

// Read implements io.Reader.
func (b *boundedReader) Read(into []byte) (int, error) {
	count, err := b.from.Read(into)
	if b.left -= int64(count); b.left < 0 {
		return 0, errTooBig
	}
	return count, err
}
