package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

// config is what tokenizer_config.json and special_tokens_map.json say.
type config struct {
	bos, eos, pad, unk, mask tokenName
	addBOS, addEOS           *bool
	maxLength                int
	cleanUp                  bool
	templates                []NamedTemplate
}

// NamedTemplate is a chat template as it is written; most models have one, called "default".
type NamedTemplate struct{ Name, Source string }

// tokenName is a special token: "</s>", {"content": "</s>", …} or null.
type tokenName struct {
	content string
	set     bool
}

func (t *tokenName) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = tokenName{set: true}
		return nil
	}
	var s string
	if json.Unmarshal(b, &s) == nil {
		*t = tokenName{s, true}
		return nil
	}
	var o struct {
		Content *string `json:"content"`
	}
	if err := json.Unmarshal(b, &o); err != nil || o.Content == nil {
		return fmt.Errorf("%s, want a token or an object with its content", b)
	}
	*t = tokenName{*o.Content, true}
	return nil
}

// configJSON is tokenizer_config.json.
type configJSON struct {
	BOSToken                  tokenName       `json:"bos_token"`
	EOSToken                  tokenName       `json:"eos_token"`
	PadToken                  tokenName       `json:"pad_token"`
	UnkToken                  tokenName       `json:"unk_token"`
	MaskToken                 tokenName       `json:"mask_token"`
	AddBOSToken               *bool           `json:"add_bos_token"`
	AddEOSToken               *bool           `json:"add_eos_token"`
	ModelMaxLength            *float64        `json:"model_max_length"`
	CleanUpTokenizationSpaces *bool           `json:"clean_up_tokenization_spaces"`
	ChatTemplate              json.RawMessage `json:"chat_template"`
}

// readConfig reads the files beside tokenizer.json; each may be absent. special_tokens_map.json fills in what
// tokenizer_config.json leaves open.
func (tk *Tokenizer) readConfig(fsys fs.FS) error {
	var j configJSON
	if err := readOptional(fsys, "tokenizer_config.json", &j); err != nil {
		return err
	}
	var more struct {
		BOSToken  tokenName `json:"bos_token"`
		EOSToken  tokenName `json:"eos_token"`
		PadToken  tokenName `json:"pad_token"`
		UnkToken  tokenName `json:"unk_token"`
		MaskToken tokenName `json:"mask_token"`
	}
	if err := readOptional(fsys, "special_tokens_map.json", &more); err != nil {
		return err
	}
	c := &tk.named
	c.bos = j.BOSToken.or(more.BOSToken).or(c.bos)
	c.eos = j.EOSToken.or(more.EOSToken).or(c.eos)
	c.pad = j.PadToken.or(more.PadToken).or(c.pad)
	c.unk = j.UnkToken.or(more.UnkToken).or(c.unk)
	c.mask = j.MaskToken.or(more.MaskToken).or(c.mask)
	c.addBOS, c.addEOS = j.AddBOSToken, j.AddEOSToken
	c.cleanUp = isTrue(j.CleanUpTokenizationSpaces, false)
	if j.ModelMaxLength != nil && *j.ModelMaxLength >= 1 && *j.ModelMaxLength < 1<<31 {
		c.maxLength = int(*j.ModelMaxLength) // files without a limit hold 1e30
	}
	if err := c.readTemplates(fsys, j.ChatTemplate); err != nil {
		return err
	}
	for _, t := range []struct {
		key  string
		name tokenName
	}{{"bos_token", c.bos}, {"eos_token", c.eos}} { // without these two, texts would start and end unmarked
		if t.name.content == "" {
			continue
		}
		if _, ok := tk.TokenID(t.name.content); !ok {
			return fmt.Errorf("tokenizer: tokenizer_config.json: %s is %q, want a token of tokenizer.json", t.key, t.name.content)
		}
	}
	tk.overrideProcessor()
	return nil
}

func (t tokenName) or(other tokenName) tokenName {
	if t.set {
		return t
	}
	return other
}

func readOptional(fsys fs.FS, name string, to any) error {
	b, err := fs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		return fmt.Errorf("tokenizer: %s: %w", name, err)
	}
	return nil
}

// overrideProcessor obeys add_bos_token and add_eos_token where they are given and the post-processor puts in those
// very tokens or none: the template is then written anew.
func (tk *Tokenizer) overrideProcessor() {
	c := &tk.named
	if c.addBOS == nil && c.addEOS == nil {
		return
	}
	bos, hasBOS := tk.BOS()
	eos, hasEOS := tk.EOS()
	starts, ends := tk.borders(bos, hasBOS, eos, hasEOS)
	wantBOS := hasBOS && isTrue(c.addBOS, starts)
	wantEOS := hasEOS && isTrue(c.addEOS, ends)
	if wantBOS == starts && wantEOS == ends {
		return
	}
	var t template
	for i := range 2 {
		typeID := int32(i)
		var steps []templateStep
		if wantBOS {
			steps = append(steps, templateStep{text: -1, ids: []int32{bos}, typeID: typeID})
		}
		steps = append(steps, templateStep{text: i, typeID: typeID})
		if wantEOS {
			steps = append(steps, templateStep{text: -1, ids: []int32{eos}, typeID: typeID})
		}
		if i == 0 {
			t.single = steps
		}
		t.pair = append(t.pair, steps...)
	}
	if seq, ok := tk.processor.(processorSequence); ok {
		kept := processorSequence{}
		for _, p := range seq {
			if _, ok := p.(template); !ok {
				kept = append(kept, p)
			}
		}
		tk.processor = append(kept, t)
		return
	}
	if p, ok := tk.processor.(trimmer); ok {
		tk.processor = processorSequence{p, t}
		return
	}
	tk.processor = t
}

// borders reports whether the post-processor starts a text with bos and ends it with eos.
func (tk *Tokenizer) borders(bos int32, hasBOS bool, eos int32, hasEOS bool) (starts, ends bool) {
	if tk.processor == nil {
		return false, false
	}
	var empty Encoding
	empty.push(noToken, 0, 0, 0, 0, 0)
	parts := tk.processor.process(tk, []Encoding{empty}, true)
	var e Encoding
	for i := range parts {
		e.join(&parts[i])
	}
	if e.Len() == 0 {
		return false, false
	}
	return hasBOS && e.IDs[0] == bos, hasEOS && e.IDs[e.Len()-1] == eos
}

func (tk *Tokenizer) lookup(t tokenName) (int32, bool) {
	if t.content == "" {
		return 0, false
	}
	return tk.TokenID(t.content)
}

// BOS is the token that starts a text, if tokenizer_config.json names one.
func (tk *Tokenizer) BOS() (int32, bool) { return tk.lookup(tk.named.bos) }

// EOS is the token that ends a text.
func (tk *Tokenizer) EOS() (int32, bool) { return tk.lookup(tk.named.eos) }

// PAD is the token that fills short rows elsewhere; graft never pads.
func (tk *Tokenizer) PAD() (int32, bool) { return tk.lookup(tk.named.pad) }

// UNK is the token for what the vocabulary cannot say.
func (tk *Tokenizer) UNK() (int32, bool) { return tk.lookup(tk.named.unk) }

// MASK is the token that hides another, of models that find those again: the one that tokenizer_config.json names, else the special
// token by one of its usual names.
func (tk *Tokenizer) MASK() (int32, bool) {
	if tk.named.mask.set {
		return tk.lookup(tk.named.mask)
	}
	for _, name := range []string{"[MASK]", "<mask>"} {
		if id, ok := tk.TokenID(name); ok && tk.Special(id) {
			return id, true
		}
	}
	return 0, false
}

// AddBOS reports whether Encode with special tokens starts a text with BOS.
func (tk *Tokenizer) AddBOS() bool {
	bos, ok := tk.BOS()
	starts, _ := tk.borders(bos, ok, 0, false)
	return starts
}

// AddEOS reports whether Encode with special tokens ends a text with EOS.
func (tk *Tokenizer) AddEOS() bool {
	eos, ok := tk.EOS()
	_, ends := tk.borders(0, false, eos, ok)
	return ends
}

// MaxLength is model_max_length, or 0 if there is none.
func (tk *Tokenizer) MaxLength() int { return tk.named.maxLength }

// CleansUp is clean_up_tokenization_spaces; CleanUp does it.
func (tk *Tokenizer) CleansUp() bool { return tk.named.cleanUp }

// ChatTemplates lists the chat templates of the folder, in the file's order.
func (tk *Tokenizer) ChatTemplates() []NamedTemplate { return tk.named.templates }
