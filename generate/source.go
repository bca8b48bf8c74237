package generate

import (
	"context"

	"github.com/graft-ml/graft/internal/kernel"
)

// Most of a batch of sources: the first bounds the encoder's memory, the other the cache of the decoder.
const (
	batchTokens  = 4096
	batchSources = 64
)

// Sources has a model tell each of the sources, some at a time, and returns the tokens of each behind the start token, which
// config.json calls decoder_start_token_id. A text depends on nothing but its source, the options and its own index. emit may be nil.
func Sources(ctx context.Context, m Decoder, mode kernel.Mode, sources [][]int32, start int32, o Options, emit Emit) ([][]int32, error) {
	out := make([][]int32, 0, len(sources))
	for len(out) < len(sources) {
		from := len(out)
		to, n := from, 0
		for to < len(sources) && to-from < batchSources && (to == from || n+len(sources[to]) <= batchTokens) {
			n += len(sources[to])
			to++
		}
		some, err := told(ctx, m, mode, sources[from:to], start, o, from, emit)
		out = append(out, some...)
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// told tells sources of one batch, of which the first has index first.
func told(ctx context.Context, m Decoder, mode kernel.Mode, sources [][]int32, start int32, o Options, first int, emit Emit) ([][]int32, error) {
	s := NewSession(m, mode)
	if err := s.Read(sources); err != nil {
		return nil, err
	}
	prompts := make([][]int32, len(sources))
	for i := range prompts {
		prompts[i] = []int32{start}
	}
	if emit != nil {
		all := emit
		emit = func(i int, id int32) bool { return all(first+i, id) }
	}
	o.first = first
	return Tokens(ctx, s, prompts, o, emit)
}
