// Package tasktest reads the batches of reference files: rows padded on the right, of which the packed batch keeps what is real.
package tasktest

import (
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/task"
)

// tasks are the names of the references for graft's.
var tasks = map[string]string{"causal": "causal-lm", "mlm": "masked-lm", "seqcls": "seq-cls", "tokcls": "token-cls", "qa": "question-answering", "seq2seq": "seq2seq-lm"}

// Lookup finds a task by the references' name.
func Lookup(t testing.TB, name string) task.Task {
	t.Helper()
	x, err := task.Lookup(tasks[name])
	if err != nil {
		t.Fatalf("tasktest: task %q of the reference: %v", name, err)
	}
	return x
}

// Batch packs the rows of a reference file with the labels of a task, by the references' name.
func Batch(t testing.TB, ref *checkpoint.Checkpoint, name string) *data.Batch {
	t.Helper()
	ids, mask := ints(t, ref, "input_ids"), ints(t, ref, "attention_mask")
	info, _ := ref.Info("input_ids")
	width := info.Shape[1]
	types := optional(t, ref, "token_type_ids")
	b := &data.Batch{}
	at := make([]int, len(ids)) // packed row of a padded one
	var from []int              // and the reverse
	for r := range info.Shape[0] {
		start := len(b.Tokens)
		for i := r * width; i < (r+1)*width; i++ {
			at[i] = len(b.Tokens)
			if mask[i] == 0 {
				continue
			}
			from = append(from, i)
			b.Positions = append(b.Positions, int32(len(b.Tokens)-start))
			b.Tokens = append(b.Tokens, int32(ids[i]))
			if types != nil {
				b.Types = append(b.Types, int32(types[i]))
			}
		}
		b.Segments = append(b.Segments, data.Segment{Start: start, End: len(b.Tokens)})
	}
	switch name {
	case "seq2seq":
		return targetsOf(t, ref, b)
	case "seqcls":
		b.Labels = labels(t, ref, len(b.Segments))
	case "qa":
		starts, ends := optional(t, ref, "start_positions"), optional(t, ref, "end_positions")
		for r, seg := range b.Segments {
			if starts == nil { // no answers are known
				b.Spans = append(b.Spans, [2]int32{int32(seg.Start), int32(seg.Start)})
				continue
			}
			b.Spans = append(b.Spans, [2]int32{int32(at[r*width+starts[r]]), int32(at[r*width+ends[r]])})
		}
	default:
		b.Targets = targets(optional(t, ref, "labels"), mask, from, width, name == "causal")
		if l := optional(t, ref, "labels"); name == "causal" && l != nil {
			for r := range b.Segments {
				b.Firsts = append(b.Firsts, int32(l[r*width]))
			}
		}
	}
	return b
}

// Begin makes the segments of a batch that has a source begin with a model's start token, which not every reference has.
func Begin(m *model.Model, b *data.Batch) {
	if b.Source != nil && m.Config.DecoderStartTokenID != nil {
		for _, s := range b.Segments {
			b.Tokens[s.Start] = *m.Config.DecoderStartTokenID
		}
	}
}

// targetsOf makes the packed inputs the source of a batch of labels. The rows of the decoder are the labels shifted right behind its
// start token (0 where the reference has no decoder inputs, see Begin).
func targetsOf(t testing.TB, ref *checkpoint.Checkpoint, src *data.Batch) *data.Batch {
	t.Helper()
	labels := ints(t, ref, "labels")
	info, _ := ref.Info("labels")
	width, inputs := info.Shape[1], optional(t, ref, "decoder_input_ids")
	b := &data.Batch{Source: &op.Source{Tokens: src.Tokens, Positions: src.Positions, Segments: src.Segments}}
	for r := range info.Shape[0] {
		from := len(b.Tokens)
		for i := r * width; i < (r+1)*width && labels[i] != data.NoTarget; i++ {
			id := 0
			switch {
			case inputs != nil:
				id = inputs[i]
			case i > r*width:
				id = labels[i-1]
			}
			b.Positions = append(b.Positions, int32(len(b.Tokens)-from))
			b.Tokens, b.Targets = append(b.Tokens, int32(id)), append(b.Targets, int32(labels[i]))
		}
		b.Segments = append(b.Segments, data.Segment{Start: from, End: len(b.Tokens)})
	}
	return b
}

// targets are the labels of the packed rows, those of the next row if causal.
func targets(labels, mask, from []int, width int, causal bool) []int32 {
	list := make([]int32, len(from))
	for t, i := range from {
		list[t] = data.NoTarget
		if causal {
			i++
			if i%width == 0 || mask[i] == 0 {
				continue
			}
		}
		if labels != nil {
			list[t] = int32(labels[i])
		}
	}
	return list
}

// labels are those of whole sequences, whole numbers or not.
func labels(t testing.TB, ref *checkpoint.Checkpoint, rows int) [][]float32 {
	t.Helper()
	info, ok := ref.Info("labels")
	if !ok {
		t.Fatal("tasktest: the reference has no labels")
	}
	var flat []float32
	if checkpoint.IsFloat(info.DType) {
		v, err := ref.Floats("labels")
		if err != nil {
			t.Fatal(err)
		}
		flat = v
	} else {
		for _, v := range ints(t, ref, "labels") {
			flat = append(flat, float32(v))
		}
	}
	list, n := make([][]float32, rows), len(flat)/rows
	for r := range list {
		list[r] = flat[r*n : (r+1)*n]
	}
	return list
}

// Logits are the reference's scores as graft has them: those of starts and ends side by side.
func Logits(t testing.TB, ref *checkpoint.Checkpoint, prefix string) []float32 {
	t.Helper()
	read := func(name string) []float32 {
		v, err := ref.Floats(prefix + name)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if _, ok := ref.Info(prefix + "logits"); ok {
		return read("logits")
	}
	starts, ends := read("start_logits"), read("end_logits")
	list := make([]float32, 0, 2*len(starts))
	for i := range starts {
		list = append(list, starts[i], ends[i])
	}
	return list
}

func ints(t testing.TB, ref *checkpoint.Checkpoint, name string) []int {
	t.Helper()
	v, err := ref.Ints(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func optional(t testing.TB, ref *checkpoint.Checkpoint, name string) []int {
	t.Helper()
	if _, ok := ref.Info(name); !ok {
		return nil
	}
	return ints(t, ref, name)
}
