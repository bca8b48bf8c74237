package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/urfave/cli/v2"
)

// checkInt8 looks at what can be wrong with an export in eight bits before a model is opened.
func checkInt8(c *cli.Context) error {
	switch {
	case c.IsSet("type") && c.String("type") != "int8":
		return usagef("export: --type is %q, want int8 for safetensors; other types of numbers are written by graft merge --dtype", c.String("type"))
	case c.IsSet("name") || c.IsSet("pre"):
		return usagef("export: --name and --pre are for GGUF files")
	case c.String("out") == "":
		return usagef("export: --out is missing, want the folder to write")
	}
	return nil
}

// exportInt8 writes a model folder with projections of eight bits, as transformers does it with bitsandbytes: head and embeddings stay.
func (e *env) exportInt8(c *cli.Context, s *subject, path string) error {
	start := time.Now()
	pack := map[string]bool{}
	for slot := range s.model.Slots() {
		if slot.Kind == layer.Conv1D {
			return usagef("export: %s stores projections as [in, out] (%s), which bitsandbytes has no form for; GGUF has", path, slot.Name)
		}
		if slot.Kind == layer.Linear {
			pack[slot.Tensor("weight")] = true
		}
	}
	job := merge.Job{Base: s.src, Unpacked: s.unpacked, AllowNothing: true, Ties: peft.Ties(s.model), Out: c.String("out"), Force: c.Bool("force"), Version: version(),
		Pack: func(name string) bool { return pack[name] }}
	if s.adapter != nil {
		m, ok := s.adapter.(peft.Merger)
		if !ok {
			return usagef("export: what this adapter trained is no change of weights and cannot be folded")
		}
		job.Deltas = m.Deltas()
		about, err := aboutAdapter(c.Context, s.folder, false)
		if err != nil {
			return err
		}
		job.Adapter = about
	}
	s.withHead(&job)
	fields := map[string]any{"quantization_config": map[string]any{"quant_method": "bitsandbytes", "load_in_8bit": true, "load_in_4bit": false}}
	for k, v := range job.Fields {
		fields[k] = v
	}
	job.Fields = fields
	report, err := merge.Fold(c.Context, job)
	if errors.Is(err, fs.ErrExist) {
		return usagef("export: %s exists already (--force replaces a model folder)", job.Out)
	}
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return e.printJSON(report)
	}
	t := newPairs(e.stdout)
	t.add("written", fmt.Sprintf("%s, %s, of %s that they were, %s", report.Out, bytesText(report.Bytes), bytesText(s.src.SizeBytes()), spanText(time.Since(start))))
	t.add("packed", fmt.Sprintf("%d matrices in eight bits a number and a scale a row", len(pack)))
	return t.flush()
}
