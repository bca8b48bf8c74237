package llamacpp

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/graft-ml/graft/model"
)

// Arch is what llama.cpp calls the parts of an architecture.
type Arch struct {
	Name       string   // general.architecture
	modelTypes []string // of config.json
	prefix     string   // of Hugging Face's names but the head's; files of the bare model lack it
	layers     string   // what comes between the prefix and a layer's number
	parts      [][2]string
	ends       [][2]string
	// permutes says that rows of queries and keys go by neighbours instead of halves.
	permutes bool
	whole    *whole // nil = only adapters are written, not whole models
}

// TokenEmbedding is the embedding, of whose factors llama.cpp wants A transposed, because it picks rows of it.
const TokenEmbedding = "token_embd"

// outputHead is the head.
const outputHead = "output"

// Projections of a layer, and the two ends: Hugging Face's name, llama.cpp's.
var (
	llamaParts = [][2]string{{"self_attn.q_proj", "attn_q"}, {"self_attn.k_proj", "attn_k"}, {"self_attn.v_proj", "attn_v"}, {"self_attn.o_proj", "attn_output"},
		{"mlp.gate_proj", "ffn_gate"}, {"mlp.up_proj", "ffn_up"}, {"mlp.down_proj", "ffn_down"}}
	phi3Parts = [][2]string{{"self_attn.qkv_proj", "attn_qkv"}, {"self_attn.o_proj", "attn_output"}, {"mlp.gate_up_proj", "ffn_up"}, {"mlp.down_proj", "ffn_down"}}
	gpt2Parts = [][2]string{{"attn.c_attn", "attn_qkv"}, {"attn.c_proj", "attn_output"}, {"mlp.c_fc", "ffn_up"}, {"mlp.c_proj", "ffn_down"}}
	ends      = [][2]string{{"model.embed_tokens", TokenEmbedding}, {"lm_head", outputHead}}
	gpt2Ends  = [][2]string{{"transformer.wte", TokenEmbedding}, {"lm_head", outputHead}}
)

// archs are the architectures whose names are known. llama.cpp calls Mistral "llama", too.
var archs = []Arch{
	{Name: "llama", modelTypes: []string{"llama", "mistral"}, prefix: "model.", layers: "layers.", parts: llamaParts, ends: ends, permutes: true, whole: &wholeLlama},
	{Name: "qwen2", modelTypes: []string{"qwen2"}, prefix: "model.", layers: "layers.", parts: llamaParts, ends: ends, whole: &wholeLlama},
	{Name: "qwen3", modelTypes: []string{"qwen3"}, prefix: "model.", layers: "layers.", parts: llamaParts, ends: ends, whole: &wholeQwen3},
	{Name: "gemma", modelTypes: []string{"gemma"}, prefix: "model.", layers: "layers.", parts: llamaParts, ends: ends, whole: &wholeGemma},
	{Name: "gemma2", modelTypes: []string{"gemma2"}, prefix: "model.", layers: "layers.", parts: llamaParts, ends: ends, whole: &wholeGemma2},
	{Name: "gemma3", modelTypes: []string{"gemma3_text"}, prefix: "model.", layers: "layers.", parts: llamaParts, ends: ends, whole: &wholeGemma3},
	{Name: "phi3", modelTypes: []string{"phi3"}, prefix: "model.", layers: "layers.", parts: phi3Parts, ends: ends, whole: &wholePhi3},
	{Name: "gpt2", modelTypes: []string{"gpt2"}, prefix: "transformer.", layers: "h.", parts: gpt2Parts, ends: gpt2Ends, whole: &wholeGPT2},
}

// ArchOf finds the architecture of a base.
func ArchOf(base *model.Config) (*Arch, error) {
	return archOf(base, func(*Arch) bool { return true })
}

// archOf finds the architecture of a base among those that will do.
func archOf(base *model.Config, do func(*Arch) bool) (*Arch, error) {
	var known []string
	for i := range archs {
		x := &archs[i]
		if !do(x) {
			continue
		}
		if slices.Contains(x.modelTypes, base.ModelType) {
			return x, nil
		}
		known = append(known, x.modelTypes...)
	}
	return nil, fmt.Errorf("model_type is %q, want one of %s: llama.cpp's names for others are not known", base.ModelType, strings.Join(known, ", "))
}

// ArchNamed finds the architecture of a file, which must be the base's if that is known.
func ArchNamed(name string, base *model.Config) (*Arch, error) {
	var known []string
	for i := range archs {
		x := &archs[i]
		known = append(known, x.Name)
		if x.Name != name {
			continue
		}
		if base != nil && !slices.Contains(x.modelTypes, base.ModelType) {
			return nil, fmt.Errorf("%s is %q, and the base's model_type %q", KeyArch, name, base.ModelType)
		}
		return x, nil
	}
	return nil, fmt.Errorf("%s is %q, want one of %s", KeyArch, name, strings.Join(known, ", "))
}

// ToGGUF is the stem of llama.cpp's names for a projection or embedding.
func (x *Arch) ToGGUF(module string) (string, error) {
	if stem, ok := x.stem(module, x.ends, x.parts); ok {
		return stem, nil
	}
	return "", fmt.Errorf("%q has no name in llama.cpp's %s", module, x.Name)
}

// stem looks a module up in tables of what is outside of layers and what is in each.
func (x *Arch) stem(module string, ends, parts [][2]string) (string, bool) {
	for _, p := range ends {
		if p[0] == module {
			return p[1], true
		}
	}
	rest, ok := strings.CutPrefix(module, x.prefix+x.layers)
	if !ok {
		return "", false
	}
	number, part, _ := strings.Cut(rest, ".")
	for _, p := range parts {
		if p[0] == part {
			return "blk." + number + "." + p[1], true
		}
	}
	return "", false
}

var blockName = regexp.MustCompile(`^blk\.(\d{1,6})\.(.+)$`)

// ToHF is the module of a stem.
func (x *Arch) ToHF(stem string) (string, error) {
	if module, ok := x.module(stem, x.ends, x.parts); ok {
		return module, nil
	}
	return "", fmt.Errorf("tensor %q is no part of llama.cpp's %s", stem, x.Name)
}

// module looks a stem up in tables of what is outside of layers and what is in each.
func (x *Arch) module(stem string, ends, parts [][2]string) (string, bool) {
	for _, p := range ends {
		if p[1] == stem {
			return p[0], true
		}
	}
	if m := blockName.FindStringSubmatch(stem); m != nil {
		for _, p := range parts {
			if p[1] == m[2] {
				return x.prefix + x.layers + m[1] + "." + p[0], true
			}
		}
	}
	return "", false
}

// Heads is by how many heads the rows of a stem are permuted; 0 = they are not, -1 = they are, and the base is not known.
func (x *Arch) Heads(stem string, base *model.Config) int {
	query, key := strings.HasSuffix(stem, ".attn_q"), strings.HasSuffix(stem, ".attn_k")
	switch {
	case !x.permutes || !query && !key:
		return 0
	case base == nil:
		return -1
	case query:
		return base.NumAttentionHeads
	}
	return base.NumKeyValueHeads
}

// Permute reorders the rows of each head as llama.cpp's rotary embedding wants queries and keys: neighbours are a pair instead of the
// halves' rows i. With back it undoes that.
//
//	row h·d + 2·i + s  of dst is row  h·d + s·d/2 + i  of src      s = 0, 1
//
//	dst, src [heads·d, cols]
func Permute(dst, src []float32, heads, cols int, back bool) {
	d := len(src) / cols / heads
	for h := range heads {
		for i := range d / 2 {
			for s := range 2 {
				to, from := h*d+2*i+s, h*d+s*d/2+i
				if back {
					to, from = from, to
				}
				copy(dst[to*cols:(to+1)*cols], src[from*cols:(from+1)*cols])
			}
		}
	}
}
