package merge

import (
	"context"
	"fmt"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
)

// RecordFile is the file beside the weights that says what they were made of.
const RecordFile = "merge.json"

// Input is a checkpoint that took part.
type Input struct {
	Model  string `json:"model"`
	SHA256 string `json:"sha256,omitempty"` // of its weights: see checkpoint.Hash
	Bytes  int64  `json:"bytes"`

	// Unpacked is set where these are not the weights as stored; hash and bytes are those of what they became.
	Unpacked *Unpacked `json:"unpacked,omitempty"`
}

// hasher hashes an input while it is read, or not at all.
type hasher struct {
	*checkpoint.Hasher
	of *checkpoint.Checkpoint
}

func newHasher(c *checkpoint.Checkpoint, no bool) *hasher {
	h := &hasher{of: c}
	if !no {
		h.Hasher = c.NewHasher()
	}
	return h
}

// tensor begins to hash a tensor; the function waits for the end.
func (h *hasher) tensor(ctx context.Context, name string) (wait func() error) {
	if h.Hasher == nil {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	go func() { done <- h.Tensor(ctx, name) }()
	return func() error { return <-done }
}

// input is what the record says of it; what nobody read is hashed now.
func (h *hasher) input(ctx context.Context, name string) (in Input, err error) {
	in = Input{Model: name, Bytes: h.of.SizeBytes()}
	if h.Hasher != nil {
		in.SHA256, err = h.Sum(ctx)
	}
	return in, err
}

// Unpacked says that the weights of an input were packed, and what they became before anything was computed.
type Unpacked struct {
	Format  string   `json:"format"`  // bitsandbytes nf4, GGUF Q4_K, …
	Tensors int      `json:"tensors"` // how many were
	DTypes  []string `json:"dtypes"`
}

// String says it in words.
func (u *Unpacked) String() string {
	return fmt.Sprintf("%d tensors packed as %s are unpacked to %s first", u.Tensors, u.Format, strings.Join(u.DTypes, " and "))
}
