package tokenizer

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func trained(t testing.TB, size int) []byte {
	t.Helper()
	corpus := slices.Values([]string{
		strings.Repeat("the cat sat on the mat; the hat is that of the cat. ", 20),
		strings.Repeat("12 + 30 = 42, naïve café 日本語 🙂\n", 7),
	})
	b, err := TrainBPE(corpus, TrainOptions{VocabSize: size, Special: []string{"<s>", "</s>"}, BOS: "<s>"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTrainBPE(t *testing.T) {
	b := trained(t, 300)
	tk, err := New(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("the vocabulary has the size asked for", func(t *testing.T) {
		if tk.VocabSize() != 300 {
			t.Errorf("VocabSize() = %d, want 300", tk.VocabSize())
		}
	})
	t.Run("training twice gives the same bytes", func(t *testing.T) {
		if !bytes.Equal(b, trained(t, 300)) {
			t.Error("two runs differ")
		}
	})
	t.Run("texts come back, bytes that training never saw too", func(t *testing.T) {
		for _, s := range []string{"the cat", "\x00\u200d🏳️‍🌈 zz\r\n", "日本 <s> x"} {
			e := tk.Encode(s, true)
			if e.IDs[0] != 0 {
				t.Errorf("Encode(%q) starts with %d, want <s> = 0", s, e.IDs[0])
			}
			if got := tk.Decode(e.IDs[1:], false); got != s {
				t.Errorf("Decode(Encode(%q)) = %q", s, got)
			}
		}
	})
	t.Run("frequent words are one token", func(t *testing.T) {
		if e := tk.Encode(" the", false); e.Len() != 1 {
			t.Errorf("%q has %d tokens, want 1", " the", e.Len())
		}
	})
	t.Run("a vocabulary without room for the bytes is an error", func(t *testing.T) {
		if _, err := TrainBPE(slices.Values([]string{"a"}), TrainOptions{VocabSize: 200}); err == nil {
			t.Error("no error")
		}
	})
	t.Run("a corpus without pairs ends early", func(t *testing.T) {
		b, err := TrainBPE(slices.Values([]string{"a"}), TrainOptions{VocabSize: 400})
		if err != nil {
			t.Fatal(err)
		}
		if tk, err := New(b); err != nil || tk.VocabSize() != 256 {
			t.Errorf("New: %v, want a vocabulary of 256", err)
		}
	})
}
