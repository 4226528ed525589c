package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// member is one entry of a test's archive.
type member struct {
	tar.Header
	body string
}

// file is a regular file.
func file(name, body string) member {
	return member{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(body))}, body}
}

// folder is a member that is a folder, closed to others.
func folder(name string) member {
	return member{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o700}}
}

// symbolic is a symbolic link.
func symbolic(name, target string) member {
	return member{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}}
}

// hard is a hard link.
func hard(name, target string) member {
	return member{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}}
}

// special is a member of any other type.
func special(name string, flag byte) member {
	return member{Header: tar.Header{Typeflag: flag, Name: name, Mode: 0o644}}
}

// globalHeader is what git archive begins with.
func globalHeader() member {
	return member{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "3f2a"}}}
}

// withMode changes a member's mode.
func withMode(m member, mode int64) member {
	m.Mode = mode
	return m
}

// archive packs members as tar.gz.
func archive(t *testing.T, members ...member) []byte {
	t.Helper()
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	writer := tar.NewWriter(zipped)
	for _, m := range members {
		if err := writer.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(writer, m.body); err != nil {
			t.Fatal(err)
		}
	}
	writer.Close()
	zipped.Close()
	return packed.Bytes()
}

// framed puts a payload into frames of the given size, with the end frame.
func framed(payload []byte, size int) []byte {
	var stream []byte
	for len(payload) > 0 {
		count := min(size, len(payload))
		stream = binary.BigEndian.AppendUint32(stream, uint32(count))
		stream = append(stream, payload[:count]...)
		payload = payload[count:]
	}
	return append(stream, 0, 0, 0, 0)
}

// receiverAt has small limits.
func receiverAt(at layout) receiver {
	return receiver{at: at, maxBytes: 1000, maxFiles: 10}
}

// tree is every path below a folder with its type or content.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		name, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case info.IsDir():
			found[name] = "folder"
		case info.Mode()&os.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			found[name] = "-> " + target
		default:
			found[name] = content(t, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(found, ".")
	return found
}

// A good archive is unpacked whole, whatever the frames' size, and the marker
// holds the answer.
func TestReceiveUnpacks(t *testing.T) {
	payload := archive(t,
		globalHeader(),
		folder("./"), file("./a.txt", "old"), file("a.txt", "new"), file("deep/er/b.txt", "bb"),
		folder("deep/"), folder("empty"), symbolic("deep/er/link", "../../a.txt"), symbolic("here", "."),
		hard("same", "deep/er/b.txt"), file(strings.Repeat("long/", 40)+"ä", "l"))
	digest := sha256.Sum256(payload)
	want := fmt.Sprintf(`{"files":6,"bytes":9,"sha256":"%s"}`+"\n", hex.EncodeToString(digest[:]))
	for _, size := range []int{1, 7, 100, maxFrame} {
		at := volume(t)
		r := receiver{at: at, maxBytes: 1000, maxFiles: 100}
		answer, err := r.receive(bytes.NewReader(framed(payload, size)))
		if err != nil || string(answer) != want || content(t, at.source()) != want {
			t.Fatalf("frames of %d: %s %v, want %s", size, answer, err, want)
		}
		got := tree(t, at.work())
		for name, text := range map[string]string{
			"a.txt": "new", "deep/er/b.txt": "bb", "empty": "folder", "same": "bb",
			"deep/er/link": "-> ../../a.txt", "here": "-> .", strings.Repeat("long/", 40) + "ä": "l",
		} {
			if got[name] != text {
				t.Errorf("%s is %q, want %q", name, got[name], text)
			}
		}
	}
}

// A second receive drains its stream, changes nothing and answers the same.
func TestReceiveIsIdempotent(t *testing.T) {
	at := volume(t)
	first, err := receiverAt(at).receive(bytes.NewReader(framed(archive(t, file("a", "1")), 9)))
	if err != nil {
		t.Fatal(err)
	}
	stream := bytes.NewReader(framed(archive(t, file("b", "2")), 9))
	second, err := receiverAt(at).receive(stream)
	if err != nil || !bytes.Equal(first, second) || stream.Len() > 0 {
		t.Fatalf("%s %v, %d bytes left", second, err, stream.Len())
	}
	if got := tree(t, at.work()); len(got) != 1 || got["a"] != "1" {
		t.Fatal(got)
	}
}

// Modes keep what matters and open to the pod what the owner may do; special
// bits are dropped.
func TestReceiveModes(t *testing.T) {
	at := volume(t)
	members := []member{
		withMode(file("plain", ""), 0o644), withMode(file("program", ""), 0o755), withMode(file("private", ""), 0o600),
		withMode(file("fixed", ""), 0o444), withMode(file("setuid", ""), 0o6755), withMode(folder("closed"), 0o500),
		file("closed/in", ""),
	}
	if _, err := receiverAt(at).receive(bytes.NewReader(framed(archive(t, members...), 99))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		"plain": 0o664, "program": 0o775, "private": 0o664, "fixed": 0o444, "setuid": 0o775, "closed": 0o777,
	} {
		info, err := os.Stat(filepath.Join(at.work(), name))
		if err != nil || info.Mode()&(os.ModePerm|os.ModeSetuid) != want {
			t.Errorf("%s: %v %v, want %v", name, info.Mode(), err, want)
		}
	}
}

// refused is a stream and a part of the reason why it is refused.
type refused struct {
	stream []byte
	reason string
}

// unsafeStreams are archives that would reach outside, or too far.
func unsafeStreams(t *testing.T) map[string]refused {
	big := strings.Repeat("x", 1001)
	many := make([]member, 0, 11)
	for i := range 11 {
		many = append(many, file(fmt.Sprint("f", i), ""))
	}
	pack := func(members ...member) []byte { return framed(archive(t, members...), 50) }
	return map[string]refused{
		"parent":               {pack(file("ok", ""), file("../evil", "x")), ".. in its name"},
		"parent inside":        {pack(file("a/../../evil", "x")), ".. in its name"},
		"absolute":             {pack(file("/tmp/evil", "x")), "absolute"},
		"absolute link":        {pack(symbolic("l", "/etc")), "only relative"},
		"link out":             {pack(symbolic("l", "..")), "may lie outside"},
		"deep link out":        {pack(symbolic("d/l", "../../x")), "may lie outside"},
		"link through link":    {pack(symbolic("d/e/l", "../.."), symbolic("out", "d/e/l/../..")), "may lie outside"},
		"write through link":   {pack(symbolic("l", "d"), file("l/evil", "x")), "is no folder"},
		"folder through link":  {pack(folder("d"), symbolic("l", "d"), folder("l")), "is no folder"},
		"below a file":         {pack(file("f", ""), file("f/x", "")), "is no folder"},
		"file over folder":     {pack(folder("d"), file("d", "x")), "already as a folder"},
		"link over folder":     {pack(file("d/x", ""), symbolic("d", "y")), "already as a folder"},
		"root as a file":       {pack(file("./.", "x")), "already as a folder"},
		"hard link out":        {pack(hard("h", "../../etc/passwd")), ".. in its name"},
		"absolute hard link":   {pack(hard("h", "/etc/passwd")), "absolute"},
		"hard link to nothing": {pack(hard("h", "later"), file("later", "")), "not an earlier file"},
		"hard link to a link":  {pack(symbolic("s", "x"), hard("h", "s")), "not an earlier file"},
		"hard link to itself":  {pack(file("h", ""), hard("h", "h")), "not an earlier file"},
		"character device":     {pack(special("dev", tar.TypeChar)), "device"},
		"block device":         {pack(special("dev", tar.TypeBlock)), "device"},
		"pipe":                 {pack(special("p", tar.TypeFifo)), "named pipe"},
		"contiguous":           {pack(special("c", tar.TypeCont)), "unknown type"},
		"one file too big":     {pack(file("b", big)), "more bytes"},
		"together too big":     {pack(file("a", big[:600]), file("b", big[:600])), "more bytes"},
		"too many files":       {pack(many...), "more than 10 entries"},
		"too many parents":     {pack(file("1/2/3/4/5/6/7/8/9/10/f", "")), "more than 10 entries"},
		"too many twins":       {pack(append(many[:1:1], many[0], many[0], many[0], many[0], many[0], many[0], many[0], many[0], many[0], many[0])...), "more than 10 entries"},
	}
}

// brokenStreams are streams that are no archive, or not a whole one.
func brokenStreams(t *testing.T) map[string]refused {
	good := framed(archive(t, file("a", "1")), 50)
	flipped := bytes.Clone(good)
	flipped[len(flipped)-4-8] ^= 1 // in gzip's checksum
	return map[string]refused{
		"headers without end":    {framed(bombOfZeros(t), 1000), "more bytes"},
		"empty":                  {nil, "before its last frame"},
		"no frame":               {framed(nil, 1), "gzip"},
		"cut in a length":        {good[:2], "before its last frame"},
		"cut in a frame":         {good[:20], "before its last frame"},
		"no end frame":           {good[:len(good)-4], "before its last frame"},
		"not framed":             {archive(t, file("a", "1")), "not a framed stream"},
		"not gzip":               {framed([]byte("hello, this is not gzip"), 50), "gzip"},
		"gzip of something else": {framed(zip(t, strings.Repeat("text ", 200)), 50), "not a tar archive"},
		"half an archive":        {framed(archive(t, file("a", "1"))[:60], 50), "unexpected EOF"},
		"wrong checksum":         {flipped, "checksum"},
		"more after the archive": {framed(append(archive(t, file("a", "1")), "the rest of another stream"...), 50), "gzip: invalid header"},
	}
}

// Unsafe archives and broken streams are refused with their reason; nothing is
// left of them, nothing is touched outside, and a good one may follow.
func TestReceiveRefuses(t *testing.T) {
	good := framed(archive(t, file("a", "1")), 50)
	cases := unsafeStreams(t)
	maps.Copy(cases, brokenStreams(t))
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			at := volume(t)
			put(t, filepath.Join(at.work(), "left", "over"), "from a transfer that was killed")
			_, err := receiverAt(at).receive(bytes.NewReader(c.stream))
			if err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("error %v, want one with %q", err, c.reason)
			}
			if exists(at.source()) {
				t.Error("there is a marker")
			}
			if got := tree(t, at.root); len(got) != len(folders)+1 { // and the lock
				t.Errorf("left: %v", got)
			}
			if _, err := receiverAt(at).receive(bytes.NewReader(good)); err != nil {
				t.Errorf("a good one afterwards: %v", err)
			}
		})
	}
}

// zip compresses a text that is no tar archive.
func zip(t *testing.T, text string) []byte {
	t.Helper()
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	io.WriteString(zipped, text)
	zipped.Close()
	return packed.Bytes()
}

// bombOfZeros is an archive that ends at once and is followed by 8 MiB of
// padding in a few kilobytes.
func bombOfZeros(t *testing.T) []byte {
	t.Helper()
	return zip(t, string(make([]byte, 8<<20)))
}

// The step that started without waiting keeps its folder.
func TestReceiveAfterTheStart(t *testing.T) {
	at := volume(t)
	put(t, at.start(), "")
	put(t, filepath.Join(at.work(), "mine"), "x")
	_, err := receiverAt(at).receive(bytes.NewReader(framed(archive(t, file("a", "1")), 50)))
	if err == nil || content(t, filepath.Join(at.work(), "mine")) != "x" {
		t.Fatal(err)
	}
}

// As a process: one line of JSON on standard output, and the exit code.
func TestReceiveAnswers(t *testing.T) {
	at := volume(t)
	bad := agent(t, at, nil, "receive", "--max-bytes", "3")
	bad.Stdin = bytes.NewReader(framed(archive(t, file("a", "1234")), 50))
	got := finish(t, bad)
	if want := `{"error":"\"a\": unpacks to more bytes than are allowed"}` + "\n"; got.code != exitFailed || got.out != want {
		t.Errorf("%+v", got)
	}
	good := agent(t, at, nil, "receive", "--max-bytes", "4")
	good.Stdin = bytes.NewReader(framed(archive(t, file("a", "1234")), 50))
	if got := finish(t, good); got.code != exitOK || !strings.HasPrefix(got.out, `{"files":1,"bytes":4,"sha256":"`) {
		t.Errorf("%+v", got)
	}
}
