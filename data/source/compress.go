package source

import (
	"bufio"
	"bytes"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// bufferSize is large enough that system calls do not count.
const bufferSize = 1 << 18

// decompress makes x.r from x.raw by the first bytes, and returns what closes it.
func (x *file) decompress() (closer func(), err error) {
	x.r = bufio.NewReaderSize(x.raw, bufferSize)
	head, err := x.r.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(x.r)
		if err != nil {
			return nil, err
		}
		x.r, x.zip = bufio.NewReaderSize(z, bufferSize), true
		return func() { z.Close() }, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(x.r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		x.r, x.zip = bufio.NewReaderSize(z, bufferSize), true
		return z.Close, nil
	}
	return func() {}, nil
}
