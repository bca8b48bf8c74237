package checkpoint

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Hash identifies the weights: SHA-256 over, for each tensor in order of names, its name, dtype, shape and the SHA-256 of
// its bytes. It does not depend on how the tensors are spread over files, nor on metadata.
//
//	for each tensor: u64 len(name), name, u64 len(dtype), dtype, u64 rank, u64 dims…, sha256(bytes)
func (c *Checkpoint) Hash(ctx context.Context) (string, error) { return c.NewHasher().Sum(ctx) }

// Hasher computes Hash tensor by tensor, for those who read the tensors anyway. Safe for concurrent use.
type Hasher struct {
	c    *Checkpoint
	done []hashed
}

// hashed is a tensor of a Hasher.
type hashed struct {
	mu  sync.Mutex
	is  bool
	sum [sha256.Size]byte
}

// NewHasher begins to hash the weights.
func (c *Checkpoint) NewHasher() *Hasher { return &Hasher{c: c, done: make([]hashed, len(c.names))} }

// Tensor hashes one tensor, unless it is hashed already.
func (h *Hasher) Tensor(ctx context.Context, name string) error {
	i, ok := slices.BinarySearch(h.c.names, name)
	if !ok {
		return fmt.Errorf("checkpoint: %s: no tensor %q", h.c.place, name)
	}
	return h.tensor(ctx, i, h.c.tensors[name])
}

func (h *Hasher) tensor(ctx context.Context, i int, t *tensorAt) (err error) {
	d := &h.done[i]
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.is {
		d.sum, err = sum(ctx, t.data)
		d.is = err == nil
	}
	return err
}

// Sum hashes what is left and returns the hash of all.
func (h *Hasher) Sum(ctx context.Context) (string, error) {
	if err := h.c.each(ctx, func(i int, t *tensorAt) error { return h.tensor(ctx, i, t) }); err != nil {
		return "", err
	}
	all := sha256.New()
	var b []byte
	for i, name := range h.c.names {
		t := h.c.tensors[name]
		b = appendText(appendText(b[:0], name), t.DType.String())
		b = binary.LittleEndian.AppendUint64(b, uint64(len(t.Shape)))
		for _, d := range t.Shape {
			b = binary.LittleEndian.AppendUint64(b, uint64(d))
		}
		all.Write(append(b, h.done[i].sum[:]...))
	}
	return hex.EncodeToString(all.Sum(nil)), nil
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
