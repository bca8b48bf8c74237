package api

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"math"
	"net/http"

	"github.com/graft-ml/graft/serve"
)

// embedding is a vector of a text.
type embedding struct {
	Object string `json:"object"`
	Index  int    `json:"index"`
	Vector any    `json:"embedding"` // numbers, or base64 of little-endian float32
}

func (s *Server) embeddings(x *exchange) error {
	f := x.body
	c, err := s.choose(x)
	if err != nil {
		return err
	}
	prompts := s.prompts(f, "input", true)
	format := f.str("encoding_format", "float")
	if format != "float" && format != "base64" {
		f.wrong("encoding_format", "%q, want float or base64", shown(format))
	}
	f.only("dimensions", "not supported: the vectors are as wide as the model")
	f.ignore("user")
	if err := f.end(); err != nil {
		return err
	}
	data := make([]embedding, len(prompts))
	err = x.each(prompts, func(ctx context.Context, i int) error {
		v, err := s.Engine.Embed(ctx, serve.Reading{Adapters: c.uses, Tokens: prompts[i].ids, Pool: s.Pool})
		data[i] = embedding{"embedding", i, v}
		if format == "base64" {
			data[i].Vector = base64.StdEncoding.EncodeToString(littleEndian(v))
		}
		return err
	})
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, map[string]any{"object": "list", "model": c.id, "data": data, "usage": x.readUsage()})
}

func littleEndian(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// readUsage is the usage of what only reads.
func (x *exchange) readUsage() map[string]int {
	return map[string]int{"prompt_tokens": x.tokens.prompt, "total_tokens": x.tokens.prompt}
}
