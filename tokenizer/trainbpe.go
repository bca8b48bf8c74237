package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"sort"
)

// TrainOptions say what TrainBPE makes.
type TrainOptions struct {
	VocabSize int      // tokens in all, at least 256 and the special ones; fewer if the corpus has no more pairs
	Special   []string // special tokens, ids 0, 1, …
	BOS       string   // the special token that starts every text; "" for none
}

// TrainBPE makes a byte-level BPE tokenizer from a corpus and returns its tokenizer.json. Words are cut as in Qwen2
// (digits one by one). The pair seen most often is joined first, ties go to the lower ids, so that the same corpus
// always gives the same bytes.
func TrainBPE(corpus iter.Seq[string], o TrainOptions) ([]byte, error) {
	if least := 256 + len(o.Special); o.VocabSize < least {
		return nil, fmt.Errorf("tokenizer: vocabulary size is %d, want at least %d (256 bytes and %d special tokens)", o.VocabSize, least, len(o.Special))
	}
	if o.BOS != "" && !slices.Contains(o.Special, o.BOS) {
		return nil, fmt.Errorf("tokenizer: bos token %q is not among the special tokens %q", o.BOS, o.Special)
	}
	tokens := slices.Clone(o.Special)
	var byteID [256]int32
	order := make([]int, 256) // bytes in the order of their letters, as vocabularies list them
	for b := range order {
		order[b] = b
	}
	sort.Slice(order, func(i, j int) bool { return byteLetters[order[i]] < byteLetters[order[j]] })
	for _, b := range order {
		byteID[b] = int32(len(tokens))
		tokens = append(tokens, string(byteLetters[b]))
	}
	t := newTrainer(countWords(corpus), &byteID)
	var merges []string
	for len(tokens) < o.VocabSize {
		pair, ok := t.best()
		if !ok {
			break
		}
		merges = append(merges, tokens[pair.a]+" "+tokens[pair.b])
		tokens = append(tokens, tokens[pair.a]+tokens[pair.b])
		t.merge(pair, int32(len(tokens)-1))
	}
	return trainedFile(tokens, merges, o)
}

type wordCount struct {
	word  string
	count int
}

// countWords counts the words of the corpus, in the order of their bytes.
func countWords(corpus iter.Seq[string]) []wordCount {
	counts := map[string]int{}
	words := scanners[qwen2Expression]
	var buf []match
	for s := range corpus {
		buf = words.find(s, buf[:0])
		for _, m := range buf {
			counts[s[m.start:m.end]]++
		}
	}
	list := make([]wordCount, 0, len(counts))
	for _, w := range sortedKeys(counts) {
		list = append(list, wordCount{w, counts[w]})
	}
	return list
}

type pair struct{ a, b int32 }

// trainer keeps, for every pair of neighbours, how often it occurs and in which words.
type trainer struct {
	words  [][]int32
	counts []int
	pairs  map[pair]int
	where  map[pair][]int32 // words that had the pair once; some may have it no more
}

func newTrainer(list []wordCount, byteID *[256]int32) *trainer {
	t := &trainer{pairs: map[pair]int{}, where: map[pair][]int32{}}
	for i, w := range list {
		ids := make([]int32, len(w.word))
		for k := range ids {
			ids[k] = byteID[w.word[k]]
		}
		t.words = append(t.words, ids)
		t.counts = append(t.counts, w.count)
		t.count(i, 1, true)
	}
	return t
}

// count adds sign times the pairs of a word.
func (t *trainer) count(i, sign int, place bool) {
	ids := t.words[i]
	for k := range len(ids) - 1 {
		p := pair{ids[k], ids[k+1]}
		t.pairs[p] += sign * t.counts[i]
		if t.pairs[p] == 0 {
			delete(t.pairs, p)
		}
		if at := t.where[p]; place && (len(at) == 0 || at[len(at)-1] != int32(i)) {
			t.where[p] = append(at, int32(i))
		}
	}
}

// best is the pair that occurs most often, at least twice.
func (t *trainer) best() (best pair, ok bool) {
	most := 1
	for p, n := range t.pairs {
		if n > most || n == most && ok && (p.a < best.a || p.a == best.a && p.b < best.b) {
			best, most, ok = p, n, true
		}
	}
	return best, ok
}

// merge writes id for the pair wherever it occurs.
func (t *trainer) merge(p pair, id int32) {
	at := t.where[p]
	delete(t.where, p)
	slices.Sort(at)
	for _, i := range slices.Compact(at) {
		ids := t.words[i]
		t.count(int(i), -1, false)
		out := ids[:0]
		for k := 0; k < len(ids); k++ {
			if k+1 < len(ids) && ids[k] == p.a && ids[k+1] == p.b {
				out = append(out, id)
				k++
				continue
			}
			out = append(out, ids[k])
		}
		t.words[i] = out
		t.count(int(i), 1, true)
	}
}

// listed is a vocabulary that is written in the order of its ids.
type listed []string

func (l listed) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteByte('{')
	for id, s := range l {
		if id > 0 {
			b.WriteByte(',')
		}
		if err := enc.Encode(s); err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, ":%d", id)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// trainedFile writes tokenizer.json.
func trainedFile(tokens, merges []string, o TrainOptions) ([]byte, error) {
	type object = map[string]any
	added := []AddedToken{}
	for i, s := range o.Special {
		added = append(added, AddedToken{ID: int32(i), Content: s, Special: true})
	}
	if merges == nil {
		merges = []string{}
	}
	var post any
	if o.BOS != "" {
		start := object{"SpecialToken": object{"id": o.BOS, "type_id": 0}}
		a, b := object{"Sequence": object{"id": "A", "type_id": 0}}, object{"Sequence": object{"id": "B", "type_id": 0}}
		post = object{
			"type": "TemplateProcessing", "single": []any{start, a}, "pair": []any{start, a, start, b},
			"special_tokens": object{o.BOS: object{"id": o.BOS, "ids": []int{slices.Index(o.Special, o.BOS)}, "tokens": []string{o.BOS}}},
		}
	}
	level := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}
	cutting := object{"type": "Split", "pattern": object{"Regex": qwen2Expression}, "behavior": "Isolated", "invert": false}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(struct {
		Version       string       `json:"version"`
		Truncation    any          `json:"truncation"`
		Padding       any          `json:"padding"`
		AddedTokens   []AddedToken `json:"added_tokens"`
		Normalizer    any          `json:"normalizer"`
		PreTokenizer  any          `json:"pre_tokenizer"`
		PostProcessor any          `json:"post_processor"`
		Decoder       any          `json:"decoder"`
		Model         any          `json:"model"`
	}{
		Version: "1.0", AddedTokens: added, PreTokenizer: object{"type": "Sequence", "pretokenizers": []any{cutting, level}},
		PostProcessor: post, Decoder: level,
		Model: struct {
			Type         string   `json:"type"`
			Dropout      any      `json:"dropout"`
			UnkToken     any      `json:"unk_token"`
			FuseUnk      bool     `json:"fuse_unk"`
			ByteFallback bool     `json:"byte_fallback"`
			IgnoreMerges bool     `json:"ignore_merges"`
			Vocab        listed   `json:"vocab"`
			Merges       []string `json:"merges"`
		}{Type: "BPE", Vocab: tokens, Merges: merges},
	})
	return b.Bytes(), err
}
