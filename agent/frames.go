package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// maxFrame is the largest payload of one frame, in bytes. It is far more than a
// sender needs and far less than the length that plain, unframed gzip would be
// taken for.
const maxFrame = 16 << 20

// errTruncated says that the sender went away before its last frame.
var errTruncated = errors.New("the stream ends before its last frame")

// frameReader reads the payload of frames as one stream: each frame is a length
// (four bytes, big endian) and so many bytes; a length of zero ends the stream.
// The end is in band because a version 4 exec session cannot half-close its
// standard input. The reader hashes every payload byte it passes on.
type frameReader struct {
	from  *bufio.Reader
	left  uint32
	ended bool
	sum   hash.Hash
}

// newFrameReader reads frames from the given stream.
func newFrameReader(from io.Reader) *frameReader {
	return &frameReader{from: bufio.NewReaderSize(from, 64<<10), sum: sha256.New()}
}

// Read implements io.Reader; the end frame is io.EOF, any other end an error.
func (f *frameReader) Read(into []byte) (int, error) {
	if f.left == 0 && !f.ended {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	if f.ended {
		return 0, io.EOF
	}
	count, err := f.from.Read(into[:min(len(into), int(f.left))])
	f.left -= uint32(count)
	f.sum.Write(into[:count])
	if err == io.EOF {
		err = errTruncated
	}
	return count, err
}

// next reads the length of the next frame.
func (f *frameReader) next() error {
	var length [4]byte
	if _, err := io.ReadFull(f.from, length[:]); err != nil {
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return errTruncated
		}
		return err
	}
	f.left = binary.BigEndian.Uint32(length[:])
	f.ended = f.left == 0
	if f.left > maxFrame {
		return fmt.Errorf("a frame of %d bytes (at most %d): this is not a framed stream", f.left, maxFrame)
	}
	return nil
}

// drain reads up to the end frame.
func (f *frameReader) drain() error {
	_, err := io.Copy(io.Discard, f)
	return err
}

// sha256 is the digest of the payload read so far, in hexadecimal.
func (f *frameReader) sha256() string {
	return hex.EncodeToString(f.sum.Sum(nil))
}
