package lora

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/peft"
)

// TestMersenne compares with the numbers that the C++ standard names for mt19937: the ten thousandth of the default seed.
func TestMersenne(t *testing.T) {
	m := newMersenne(5489)
	if got := m.next(); got != 3499211612 {
		t.Errorf("the first number is %d, want 3499211612", got)
	}
	var got uint32
	for range 9999 {
		got = m.next()
	}
	if got != 4123659995 {
		t.Errorf("number 10000 is %d, want 4123659995", got)
	}
}

func TestPermutation(t *testing.T) {
	all := permutation(50, 50, 7)
	if !slices.Equal(all[:20], permutation(50, 20, 7)) {
		t.Error("the beginning of a permutation depends on its length")
	}
	slices.Sort(all)
	for i, v := range all {
		if i != v {
			t.Fatalf("sorted it has %d at %d", v, i)
		}
	}
}

func TestFactorise(t *testing.T) {
	for _, c := range []struct{ dimension, factor, m, n int }{
		{256, -1, 16, 16}, {128, -1, 8, 16}, {127, -1, 1, 127}, {128, 4, 4, 32}, {12, 5, 3, 4}, {1, -1, 1, 1}, {12, 24, 3, 4},
	} {
		if m, n := factorise(c.dimension, c.factor); m != c.m || n != c.n {
			t.Errorf("factorise(%d, %d) = %d, %d, want %d, %d", c.dimension, c.factor, m, n, c.m, c.n)
		}
	}
}

// TestRelativesMistakes wants settings that cannot be, or that graft does not have, refused by name.
func TestRelativesMistakes(t *testing.T) {
	for _, c := range []struct {
		method   peft.Method
		settings string
		want     string
	}{
		{LoHa, `{"r": 0}`, "r is 0, want 1 to"},
		{LoHa, `{"r": 1.5}`, "r is 1.5, want a whole number"},
		{LoHa, `{"rank_dropout": 0.5}`, "rank_dropout is 0.5, want 0"},
		{LoHa, `{"rank_pattern": {"q_proj": 0}}`, `rank_pattern "q_proj" is 0`},
		{LoKr, `{"init_weights": "odd"}`, `init_weights is "odd", want true, false or "lycoris"`},
		{VeRA, `{"save_projection": false}`, "save_projection is false, want true"},
		{RandLoRA, `{"sparse": true}`, "sparse is true, which is not supported"},
		{AdaLoRA, `{"target_r": 13}`, "target_r is 13 and init_r is 12"},
		{AdaLoRA, `{"beta1": 1}`, "want both between 0 and 1"},
		{AdaLoRA, `{"use_dora": true}`, "use_dora is true, which is not supported"},
		{GraLoRA, `{"r": 3}`, "r is 3, want a multiple of gralora_k 2"},
		{VBLoRA, `{"num_vectors": 1}`, "topk is 2 and num_vectors is 1"},
		{MiSS, `{"init_weights": "bad"}`, `init_weights is "bad"`},
		{C3A, `{"init_weights": "bad"}`, `init_weights is "bad"`},
		{SHiRA, `{"mask_type": "mine"}`, `mask_type is "mine"`},
		{WaveFT, `{"wavelet_family": "db2"}`, `wavelet_family is "db2"`},
		{PEANuT, `{"act_fn": "mish"}`, `act_fn is "mish"`},
		{DEFT, `{"decomposition_method": "qr"}`, `decomposition_method is "qr"`},
		{GLoRA, `{"config_C": "x"}`, `config_C is "x"`},
		{PVeRA, `{}`, "training draws from a distribution"},
		{OSF, `{}`, "not built"},
		{LoHa, `{"target_modules": ["embed_tokens"]}`, "match the embedding"},
		{LoHa, `{"target_modules": ["nowhere"]}`, "match no module"},
		{VBLoRA, `{"vector_length": 5, "target_modules": ["q_proj"]}`, "vector_length 5 does not divide"},
		{C3A, `{"block_size": 5, "target_modules": ["q_proj"]}`, "block_size 5 does not divide"},
		{SHiRA, `{"r": 100, "target_modules": ["q_proj"]}`, "r 100 makes"},
		{FourierFT, `{"n_frequency": 1000000, "target_modules": ["q_proj"]}`, "n_frequency is 1000000"},
		{LoHa, `{"r": 1000000, "target_modules": ["q_proj", "down_proj"]}`, "the settings make tensor"},
		{TinyLoRA, `{"u": 1000000, "r": 4096}`, "the settings make tensor"},
		{LoHa, `{"alpha_pattern": {"nowhere": 2}, "target_modules": ["q_proj"]}`, `alpha_pattern key "nowhere" matches none`},
	} {
		conf := c.method.New()
		err := conf.Parse([]byte(strings.Replace(c.settings, "{", `{"peft_type": "`+c.method.Type+`"`+map[bool]string{true: "", false: ","}[c.settings == "{}"], 1)))
		if err == nil {
			_, err = conf.Attach(tiny(t, false), rand.New(rand.NewPCG(1, 2)))
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want …%s…", c.method.Name, c.settings, err, c.want)
		}
	}
}
