package llamacpp

import (
	"fmt"
	"strings"

	"github.com/graft-ml/graft/checkpoint/gguf"
)

// FileType is what most matrices of a file are packed as.
type FileType struct {
	Name   string
	typ    gguf.Type
	number uint32 // general.file_type
	more   bool   // the tensors that suffer most get Q6_K, as in llama.cpp's mixes with _M behind their names
}

// FileTypes are the types of files.
var FileTypes = []FileType{
	{Name: "f32", typ: gguf.F32, number: 0}, {Name: "f16", typ: gguf.F16, number: 1}, {Name: "bf16", typ: gguf.BF16, number: 32},
	{Name: "q8_0", typ: gguf.Q80, number: 7}, {Name: "q6_k", typ: gguf.Q6K, number: 18}, {Name: "q5_k", typ: gguf.Q5K, number: 17, more: true},
	{Name: "q5_0", typ: gguf.Q50, number: 8}, {Name: "q4_k", typ: gguf.Q4K, number: 15, more: true}, {Name: "q4_0", typ: gguf.Q40, number: 2},
}

// TypeNames lists the names of FileTypes.
func TypeNames() (names []string) {
	for _, t := range FileTypes {
		names = append(names, t.Name)
	}
	return names
}

// FileTypeNamed finds a type of files.
func FileTypeNamed(name string) (*FileType, error) {
	for i := range FileTypes {
		if FileTypes[i].Name == name {
			return &FileTypes[i], nil
		}
	}
	return nil, fmt.Errorf("type is %q, want one of %s", name, strings.Join(TypeNames(), ", "))
}

// quantised says that the type has blocks.
func (f *FileType) quantised() bool { return f.typ.Block() > 1 }

// of is what a tensor is packed as, by llama.cpp's rules (llama-quant.cpp): vectors, norms and positions stay float32; the head, which may
// be the embedding, gets Q6_K; rows that are not made of whole blocks get a type whose blocks are smaller, told by fellBack.
func (f *FileType) of(t *tensor, layers int, tied bool) (typ gguf.Type, fellBack bool) {
	if len(t.info.Shape) < 2 || strings.HasSuffix(t.name, "_norm.weight") || strings.HasPrefix(t.name, "position_embd.") {
		return gguf.F32, false
	}
	typ = f.typ
	if f.quantised() {
		typ = f.chosen(t, layers, tied)
	}
	for ; t.cols%typ.Block() != 0; fellBack = true {
		next, ok := smaller[typ]
		if !ok {
			next = gguf.F16
		}
		typ = next
	}
	return typ, fellBack
}

// smaller are the types for rows that are not made of whole blocks; F16 for all others. llama.cpp has Q5_1 for Q5_K.
var smaller = map[gguf.Type]gguf.Type{gguf.Q4K: gguf.Q50, gguf.Q5K: gguf.Q80, gguf.Q6K: gguf.Q80}

// chosen is the type that a matrix gets in a quantised file if its rows allow it.
func (f *FileType) chosen(t *tensor, layers int, tied bool) gguf.Type {
	head := strings.HasPrefix(t.name, outputHead+".") || tied && strings.HasPrefix(t.name, TokenEmbedding+".")
	switch {
	case head && f.typ == gguf.Q80:
		return gguf.Q80
	case head:
		return gguf.Q6K
	case f.more && t.suffers() && moreBits(t.layer, layers):
		return gguf.Q6K
	}
	return f.typ
}

// suffers says that a matrix needs more bits than others.
func (t *tensor) suffers() bool {
	for _, part := range []string{".attn_v.", ".attn_qkv.", ".ffn_down."} {
		if strings.Contains(t.name, part) {
			return true
		}
	}
	return false
}

// moreBits are the first and the last eighth of the layers, and every third between.
func moreBits(layer, layers int) bool {
	return layer < layers/8 || layer >= 7*layers/8 || (layer-layers/8)%3 == 2
}
