package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// AddedToken is a token that is cut out of the text before anything else looks at it.
type AddedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // only where no letter touches it
	LStrip     bool   `json:"lstrip"`      // takes the white space before it
	RStrip     bool   `json:"rstrip"`      // takes the white space after it
	Normalized bool   `json:"normalized"`  // looked for in the normalised text
	Special    bool   `json:"special"`     // left out of decoded text on request
}

// addedTokens finds added tokens, those of the raw text and those of the normalised text.
type addedTokens struct {
	all        map[int32]AddedToken
	ids        map[string]int32
	raw        *trie
	normalized *trie
}

func newAddedTokens(list []AddedToken, v *vocabulary, n normalizer) (*addedTokens, error) {
	a := &addedTokens{all: map[int32]AddedToken{}, ids: map[string]int32{}, raw: newTrie(0), normalized: newTrie(0)}
	for i, t := range list {
		if t.Content == "" {
			continue
		}
		if id, ok := v.ids[t.Content]; ok {
			t.ID = id // the model's own id rules, as in the reference
		}
		if limit := len(v.tokens) + len(list) + maxHoles; t.ID < 0 || int(t.ID) >= limit {
			return nil, fmt.Errorf("added_tokens[%d]: id %d, want at least 0 and below %d", i, t.ID, limit)
		}
		a.all[t.ID] = t
		a.ids[t.Content] = t.ID
		if !t.Normalized {
			a.raw.add(t.Content, t.ID)
			continue
		}
		p := text{s: t.Content, id: noToken}
		if n != nil {
			n.normalize(&p)
		}
		a.normalized.add(p.s, t.ID)
	}
	return a, nil
}

// readAddedTokens reads the list, which may be null.
func readAddedTokens(raw json.RawMessage) ([]AddedToken, error) {
	var list []AddedToken
	if isNull(raw) {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("added_tokens: %w", err)
	}
	for i, t := range list {
		if !utf8.ValidString(t.Content) {
			return nil, fmt.Errorf("added_tokens[%d]: content %q is not UTF-8", i, t.Content)
		}
	}
	return list, nil
}

// split cuts the tokens of set out of t, leftmost first and longest first.
func (a *addedTokens) split(t *text, set *trie, dst []text) []text {
	if len(set.value) == 1 {
		return appendPiece(dst, t, 0, len(t.s))
	}
	done := 0
	for i := 0; i < len(t.s); {
		if set.first[t.s[i]] == 0 {
			i++
			continue
		}
		id, n := set.longest(t.s[i:])
		if n == 0 {
			i++
			continue
		}
		start, end, ok := a.extend(t.s, i, i+n, done, id)
		i += n
		if !ok || start < done {
			continue
		}
		dst = appendPiece(dst, t, done, start)
		p := t.slice(start, end)
		p.id = id
		dst = append(dst, p)
		done = end
		i = max(i, end)
	}
	return appendPiece(dst, t, done, len(t.s))
}

// extend applies single_word, lstrip and rstrip to a match.
func (a *addedTokens) extend(s string, start, end, done int, id int32) (int, int, bool) {
	tok := a.all[id]
	if tok.SingleWord {
		before, _ := utf8.DecodeLastRuneInString(s[:start])
		after, _ := utf8.DecodeRuneInString(s[end:])
		if start > 0 && isWordRune(before) || end < len(s) && isWordRune(after) {
			return 0, 0, false
		}
	}
	if tok.LStrip {
		start = max(done, len(strings.TrimRightFunc(s[:start], unicode.IsSpace)))
	}
	if tok.RStrip {
		end = len(s) - len(strings.TrimLeftFunc(s[end:], unicode.IsSpace))
	}
	return start, end, true
}
