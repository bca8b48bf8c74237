package generate

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// Decoder is a model as generation needs it.
type Decoder interface {
	NewCache() *op.Cache
	CheckTokens(tokens []int32) error
	CheckDecodes() error
	CheckPositions(positions []int32) error
	CheckSource(src *op.Source, segments int) error
	Encode(p *op.Pass) []kernel.Mat
	Hidden(p *op.Pass, tokens []int32) mat.Tensor
	Logits(p *op.Pass, hidden mat.Tensor, rows []int) kernel.Mat
}

// NewSession starts a session of no sequences.
func NewSession(m Decoder, mode kernel.Mode) *ModelSession {
	return &ModelSession{m: m, mode: mode, cache: m.NewCache(), arena: op.NewArena()}
}

// ModelSession is a Session over a model.
type ModelSession struct {
	m     Decoder
	mode  kernel.Mode
	cache *op.Cache
	arena *op.Arena
	read  []kernel.Mat // memories of sources whose sequences have not begun
}

// Read passes the sources of the sequences that begin next, in their order, through the encoder of a model that has one.
func (s *ModelSession) Read(sources [][]int32) error {
	src := &op.Source{}
	for i, ids := range sources {
		if len(ids) == 0 {
			return fmt.Errorf("generate: source %d is empty, want at least one token", i)
		}
		start := len(src.Tokens)
		src.Tokens = append(src.Tokens, ids...)
		for j := range ids {
			src.Positions = append(src.Positions, int32(j))
		}
		src.Segments = append(src.Segments, op.Segment{Start: start, End: len(src.Tokens)})
	}
	if err := s.m.CheckSource(src, len(sources)); err != nil {
		return err
	}
	p := op.NewPass(nil, nil, s.mode, s.arena)
	p.Source = src
	s.read = append(s.read, s.m.Encode(p)...)
	s.arena.Reset()
	return nil
}

// open begins a sequence.
func (s *ModelSession) open() error {
	if len(s.read) == 0 {
		if err := s.m.CheckSource(nil, 1); err != nil {
			return err
		}
		s.cache.Open()
		return nil
	}
	s.cache.Remember(s.cache.Open(), s.read[0])
	s.read = s.read[1:]
	return nil
}

// Extend implements Session: the new tokens of all sequences are one packed batch.
func (s *ModelSession) Extend(tokens [][]int32) (kernel.Mat, error) {
	if err := s.m.CheckDecodes(); err != nil {
		return kernel.Mat{}, err
	}
	var ids, positions []int32
	var segments []op.Segment
	var last []int
	for i, list := range tokens {
		if err := s.m.CheckTokens(list); err != nil {
			return kernel.Mat{}, err
		}
		if i == s.cache.Sequences() {
			if err := s.open(); err != nil {
				return kernel.Mat{}, err
			}
		}
		past := s.cache.Len(i)
		segments = append(segments, op.Segment{Start: len(ids), End: len(ids) + len(list), Sequence: i})
		for j := range list {
			positions = append(positions, int32(past+j))
		}
		ids = append(ids, list...)
		last = append(last, len(ids)-1)
	}
	if err := s.m.CheckPositions(positions); err != nil {
		return kernel.Mat{}, err
	}
	p := op.NewPass(segments, positions, s.mode, s.arena)
	p.Cache = s.cache
	logits := s.m.Logits(p, s.m.Hidden(p, ids), last)
	s.arena.Reset()
	return logits, nil
}

// Select implements Session.
func (s *ModelSession) Select(parents []int) { s.cache.Select(parents) }

// Truncate forgets the rows of a sequence from length on, so that a conversation need not be read again from its start.
func (s *ModelSession) Truncate(sequence, length int) { s.cache.Truncate(sequence, length) }

// Len is the number of tokens of a sequence that the session has seen.
func (s *ModelSession) Len(sequence int) int {
	if sequence >= s.cache.Sequences() {
		return 0
	}
	return s.cache.Len(sequence)
}
