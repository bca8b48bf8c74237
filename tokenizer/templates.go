package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// readTemplates takes the files chat_template.jinja and additional_chat_templates/NAME.jinja before the key chat_template
// of tokenizer_config.json, as transformers does.
func (c *config) readTemplates(fsys fs.FS, raw json.RawMessage) error {
	b, err := fs.ReadFile(fsys, "chat_template.jinja")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("tokenizer: chat_template.jinja: %w", err)
	}
	if err == nil {
		c.templates = []NamedTemplate{{defaultTemplate, string(b)}}
	}
	const folder = "additional_chat_templates"
	more, err := fs.Glob(fsys, folder+"/*.jinja") // in the order of their names
	if err != nil {
		return fmt.Errorf("tokenizer: %s: %w", folder, err)
	}
	for _, name := range more {
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return fmt.Errorf("tokenizer: %w", err)
		}
		c.templates = append(c.templates, NamedTemplate{strings.TrimSuffix(path.Base(name), ".jinja"), string(b)})
	}
	if len(c.templates) > 0 || isNull(raw) {
		return nil
	}
	if c.templates, err = templatesOf(raw); err != nil {
		return fmt.Errorf("tokenizer: tokenizer_config.json: chat_template: %w", err)
	}
	return nil
}

// templatesOf reads a template, or a list of named ones.
func templatesOf(raw json.RawMessage) ([]NamedTemplate, error) {
	var source string
	if json.Unmarshal(raw, &source) == nil {
		return []NamedTemplate{{defaultTemplate, source}}, nil
	}
	var list []struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	var out []NamedTemplate
	for _, t := range list {
		out = append(out, NamedTemplate{t.Name, t.Template})
	}
	return out, nil
}
