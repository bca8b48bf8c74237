package model

import (
	"context"
	"sync"
)

// identity is the hash of a model's tensors, once somebody asked for it.
type identity struct {
	sync.Mutex
	hash string
}

// Identity is the SHA-256 of the tensors that the model was loaded from, as checkpoint.Hash computes it; "" if the weights are random
// or the source cannot tell. It reads all of them the first time. Safe for concurrent use.
func (m *Model) Identity(ctx context.Context) (string, error) {
	if m.viewed != nil {
		return m.viewed.of.Identity(ctx)
	}
	m.hash.Lock()
	defer m.hash.Unlock()
	src := m.origin
	if r, ok := src.(*renamed); ok {
		src = r.Source
	}
	h, ok := src.(interface {
		Hash(ctx context.Context) (string, error)
	})
	if m.hash.hash != "" || !ok {
		return m.hash.hash, nil
	}
	var err error
	m.hash.hash, err = h.Hash(ctx)
	return m.hash.hash, err
}
