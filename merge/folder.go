package merge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/atomicfile"
)

// checkFolders keeps the output away from the base, and Force away from folders that are no models.
func (p *plan) checkFolders() error {
	if p.Base.Folder() == nil {
		return errors.New("merge: the base was read from memory and has no folder to take config.json and the tokenizer from")
	}
	return checkOut(p.Out, p.Force, p.Base)
}

// checkOut keeps an output away from what it is made of, and force away from folders that are no models.
func checkOut(out string, force bool, inputs ...*checkpoint.Checkpoint) error {
	if out == "" {
		return errors.New("merge: no output folder")
	}
	for _, in := range inputs {
		base := in.Path()
		if base == "" {
			continue
		}
		if st, err := os.Stat(base); err == nil && !st.IsDir() {
			base = filepath.Dir(base)
		}
		rel, err := filepath.Rel(resolved(out), resolved(base))
		if err == nil && (rel == "." || filepath.IsLocal(rel)) {
			return fmt.Errorf("merge: %s: is or holds the base %s, want another folder", out, in.Path())
		}
	}
	if !force {
		return nil
	}
	return replaceable(out)
}

// replaceable refuses to replace a folder that holds something else than a model.
func replaceable(out string) error {
	entries, err := os.ReadDir(out)
	if err != nil || len(entries) == 0 {
		return nil
	}
	is := func(match func(name string) bool) bool {
		return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return match(e.Name()) })
	}
	if is(func(name string) bool { return strings.HasPrefix(name, "adapter_") }) {
		return fmt.Errorf("merge: %s: holds an adapter, so it is not replaced; remove it yourself", out)
	}
	if is(func(name string) bool {
		return name == "config.json" || strings.HasPrefix(name, "model") && strings.HasSuffix(name, ".safetensors")
	}) {
		return nil
	}
	return fmt.Errorf("merge: %s: holds no model, so it is not replaced; remove it yourself", out)
}

// resolved is a path without links, also if its end does not exist yet.
func resolved(name string) string {
	abs, err := filepath.Abs(name)
	if err != nil {
		return name
	}
	if r, err := filepath.EvalSymlinks(abs); err == nil {
		return r
	}
	if dir := filepath.Dir(abs); dir != abs {
		return filepath.Join(resolved(dir), filepath.Base(abs))
	}
	return abs
}

// weights are the endings of files that hold weights, in whatever format; they are not copied.
var weights = []string{".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".ot", ".gguf", ".index.json"}

// companions lists the files of a model's folder that belong to it and are not weights.
func companions(folder fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return nil, fmt.Errorf("merge: base: %w", err)
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() && name == "additional_chat_templates" {
			more, err := fs.Glob(folder, name+"/*.jinja")
			if err != nil {
				return nil, fmt.Errorf("merge: base: %w", err)
			}
			names = append(names, more...)
			continue
		}
		st, err := fs.Stat(folder, name) // follows links, which caches of models are made of
		isWeight := slices.ContainsFunc(weights, func(end string) bool { return strings.HasSuffix(name, end) })
		if err != nil || !st.Mode().IsRegular() || isWeight || name[0] == '.' || name == "adapter_config.json" || name == RecordFile {
			continue
		}
		names = append(names, name)
	}
	return names, nil
}

// copyFiles writes everything that is not weights.
func (p *plan) copyFiles(ctx context.Context, dir string, r *Report) error {
	files := map[string][]byte{}
	for _, name := range p.sources {
		b, err := p.Base.ReadFile(name)
		if err != nil {
			return err
		}
		files[name] = b
	}
	config, err := p.outConfig()
	if err != nil {
		return err
	}
	files["config.json"] = config
	maps.Copy(files, p.Files)
	names, err := writeFiles(ctx, dir, files)
	r.Files = append(r.Files, names...)
	return err
}

// outConfig is config.json of the output.
func (p *plan) outConfig() ([]byte, error) {
	config := p.config
	if p.convert {
		config = checkpoint.SetConfigDType(config, p.dtype)
	}
	if p.loosen {
		config = loosened(config)
	}
	return p.setFields(config)
}

// writeFiles writes files into a folder and lists them.
func writeFiles(ctx context.Context, dir string, files map[string][]byte) (names []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := atomicfile.MkdirAll(filepath.Dir(to)); err != nil {
			return nil, err
		}
		if err := atomicfile.WriteBytes(to, files[name]); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// scaleOutputs is what tie_word_embeddings of these model types said besides, before it had a name of its own (transformers 5).
const scaleOutputs = "scale_decoder_outputs"

// loosened is a config.json that says that embedding and head differ, and nothing else that was said before.
func loosened(config []byte) []byte {
	var c struct {
		ModelType string `json:"model_type"`
		Scale     *bool  `json:"scale_decoder_outputs"`
	}
	if json.Unmarshal(config, &c) == nil && (c.ModelType == "t5" || c.ModelType == "mt5") && c.Scale == nil {
		config = checkpoint.SetConfig(config, scaleOutputs, "true")
	}
	return checkpoint.SetConfig(config, "tie_word_embeddings", "false")
}

// Names that the two ends of a language model have in checkpoints.
var (
	embeddings = []string{"embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "tok_embeddings.weight", "shared.weight"}
	heads      = []string{"lm_head.weight", "embed_out.weight", "output.weight"}
)

// ties names the targets that serve as input embedding and as head by config.json, with the reason. A config without the key
// ties if the checkpoint has an embedding and no head; a checkpoint that stores a head is not tied, whatever the config says.
func (p *plan) ties() (map[string]string, error) {
	tied := map[string]string{}
	var config struct {
		Tie           *bool    `json:"tie_word_embeddings"`
		Architectures []string `json:"architectures"`
	}
	if err := json.Unmarshal(p.config, &config); err != nil {
		return nil, fmt.Errorf("merge: %s: config.json: %w", p.Base.Path(), err)
	}
	stored := slices.ContainsFunc(p.Base.Names(), func(n string) bool { return ends(n, heads) })
	if stored || config.Tie != nil && !*config.Tie {
		p.loosen = stored && config.Tie != nil && *config.Tie
		return tied, nil
	}
	why := "tie_word_embeddings in config.json"
	if config.Tie == nil {
		why = "the checkpoint has no head of its own"
	}
	if len(config.Architectures) > 0 && !slices.ContainsFunc(config.Architectures, hasHead) {
		return tied, nil
	}
	for _, d := range p.Deltas {
		if name := d.Target(); ends(name, embeddings) || ends(name, heads) {
			tied[name] = why
		}
	}
	return tied, nil
}

// ends tells whether the last parts of a name are one of those.
func ends(name string, those []string) bool {
	return slices.ContainsFunc(those, func(s string) bool { return name == s || strings.HasSuffix(name, "."+s) })
}

// hasHead tells whether an architecture predicts words, so that its embedding may be its head too.
func hasHead(architecture string) bool {
	for _, s := range []string{"ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForConditionalGeneration", "MTModel", "ForPreTraining"} {
		if strings.HasSuffix(architecture, s) {
			return true
		}
	}
	return false
}

// clean refuses names of extra files that lead out of the folder.
func clean(files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !fs.ValidPath(name) || name == "." || path.Clean(name) != name {
			return fmt.Errorf("merge: file %q leads out of the output folder", name)
		}
	}
	return nil
}
