package tokenizer_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/tokenizer"
)

// TestGoldenChat renders every conversation of golden/chat as transformers' apply_chat_template did: texts, ids, masks
// and errors.
func TestGoldenChat(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "chat")
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Skipf("no golden chats: %s has no JSON files", dir)
	}
	suite := golden.NewSuite(t, "chat")
	opened := map[string]*tokenizer.Tokenizer{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		v, err := data.ParseJSON(b)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		file := v.(data.Object)
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		template := field[string](file, "template")
		for _, x := range field[[]any](file, "cases") {
			c := chatCase{x.(data.Object)}
			suite.Case(name+"/"+c.name(), golden.Facts{"template": name}, func(t *testing.T) {
				use := field[string](c.Object, "tokenizer")
				if opened[use] == nil {
					opened[use] = openAsset(t, use)
				}
				c.check(t, opened[use], template)
			})
		}
	}
}

// field is a value of an object, or the zero value where it is absent or null.
func field[T any](o data.Object, name string) T {
	v, _ := o.Get(name)
	x, _ := v.(T)
	return x
}

type chatCase struct{ data.Object }

func (c chatCase) name() string {
	parts := []string{field[string](c.Object, "tokenizer"), field[string](c.Object, "conversation")}
	for _, f := range field[data.Object](c.Object, "options") {
		parts = append(parts, f.Name)
	}
	return strings.Join(parts, ",")
}

// chat is the case's conversation with its options.
func (c chatCase) chat() tokenizer.Chat {
	chat := tokenizer.Chat{Messages: asRendered(field[[]any](c.Object, "messages")).([]any), Vars: map[string]any{}}
	for _, name := range []string{"bos_token", "eos_token"} {
		if s := field[string](c.Object, name); s != "" {
			chat.Vars[name] = s
		}
	}
	for _, f := range field[data.Object](c.Object, "options") {
		switch f.Name {
		case "add_generation_prompt":
			chat.AddGenerationPrompt = f.Value.(bool)
		case "continue_final_message":
			chat.ContinueFinalMessage = f.Value.(bool)
		case "tools":
			chat.Tools = asRendered(f.Value).([]any)
		default:
			chat.Vars[f.Name] = f.Value
		}
	}
	return chat
}

// asRendered puts the fields of objects back in the order in which they were rendered: the files hold them sorted by
// name, but templates print them.
func asRendered(v any) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = asRendered(v[i])
		}
		return out
	case data.Object:
		order := []string{"type", "function", "name", "description", "parameters", "properties", "text", "default"}
		rank := func(f data.Field) int {
			if i := slices.Index(order, f.Name); i >= 0 {
				return i
			}
			return len(order)
		}
		out := make(data.Object, len(v))
		for i, f := range v {
			out[i] = data.Field{Name: f.Name, Value: asRendered(f.Value)}
		}
		slices.SortStableFunc(out, func(a, b data.Field) int { return rank(a) - rank(b) })
		return out
	}
	return v
}

func (c chatCase) check(t *testing.T, tk *tokenizer.Tokenizer, template string) {
	ct, err := tk.NewChatTemplate(template)
	if err != nil {
		t.Fatal(err)
	}
	chat := c.chat()
	e, p, err := ct.Encode(chat)
	if want, wrong := c.Get("error"); wrong {
		message := field[string](want.(data.Object), "message")
		if err == nil {
			t.Fatalf("Encode = %q, want the error %q", p.Text, message)
		}
		if field[string](want.(data.Object), "type") == "TemplateError" && !strings.HasSuffix(err.Error(), message) {
			t.Errorf("Encode = %q, want the template's own words %q", err, message)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if want := field[string](c.Object, "text"); p.Text != want {
		t.Errorf("text\n got %q\nwant %q", p.Text, want)
	}
	if want := int32s(field[[]any](c.Object, "input_ids")); !slices.Equal(e.IDs, want) {
		t.Errorf("input_ids\n got %v\nwant %v", e.IDs, want)
	}
	if list, ok := c.Get("assistant_masks"); ok {
		mask := make([]int32, e.Len())
		for i, in := range tokenizer.Within(e.Offsets, p.Spans) {
			if in {
				mask[i] = 1
			}
		}
		if want := int32s(list.([]any)); !slices.Equal(mask, want) {
			t.Errorf("assistant_masks of %q\n got %v\nwant %v", p.Text, mask, want)
		}
	}
}

func int32s(list []any) (out []int32) {
	for _, v := range list {
		out = append(out, int32(v.(int64)))
	}
	return out
}

// openAsset loads a tokenizer of the assets by its folder's name, without the files beside it.
func openAsset(t testing.TB, name string) *tokenizer.Tokenizer {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(golden.Assets(t), "tokenizers", name, "tokenizer.json"))
	if err != nil {
		t.Skipf("no asset: %v", err)
	}
	tk, err := tokenizer.New(b)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}
