package checkpoint

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"runtime"
	"sync"
	"sync/atomic"
)

// Hash identifies the weights: SHA-256 over, for each tensor in order of names, its name, dtype, shape and the SHA-256 of
// its bytes. It does not depend on how the tensors are spread over files, nor on metadata.
//
//	for each tensor: u64 len(name), name, u64 len(dtype), dtype, u64 rank, u64 dims…, sha256(bytes)
func (c *Checkpoint) Hash(ctx context.Context) (string, error) {
	sums := make([][sha256.Size]byte, len(c.names))
	if err := c.each(ctx, func(i int, t *tensorAt) error {
		var err error
		sums[i], err = sum(ctx, t.data)
		return err
	}); err != nil {
		return "", err
	}
	h := sha256.New()
	var b []byte
	for i, name := range c.names {
		t := c.tensors[name]
		b = appendText(appendText(b[:0], name), t.DType.String())
		b = binary.LittleEndian.AppendUint64(b, uint64(len(t.Shape)))
		for _, d := range t.Shape {
			b = binary.LittleEndian.AppendUint64(b, uint64(d))
		}
		h.Write(append(b, sums[i][:]...))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// sum hashes a tensor in pieces, so that a cancelled context is noticed soon.
func sum(ctx context.Context, data []byte) (out [sha256.Size]byte, err error) {
	const piece = 1 << 24
	h := sha256.New()
	for len(data) > 0 {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		n := min(piece, len(data))
		h.Write(data[:n])
		data = data[n:]
	}
	h.Sum(out[:0])
	return out, nil
}

// each calls f for every tensor, several at a time, in order of names; it returns the error of the first that failed.
func (c *Checkpoint) each(ctx context.Context, f func(i int, t *tensorAt) error) error {
	errs := make([]error, len(c.names))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(c.names)) {
		wg.Go(func() {
			for i := int(next.Add(1) - 1); i < len(c.names) && ctx.Err() == nil; i = int(next.Add(1) - 1) {
				errs[i] = f(i, c.tensors[c.names[i]])
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}
