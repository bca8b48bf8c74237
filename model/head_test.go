package model_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/modeltest"
)

// tinyOf is the folder of a small model by its name.
func tinyOf(t *testing.T, name string) *checkpoint.Checkpoint {
	t.Helper()
	i := slices.IndexFunc(modeltest.Tiny, func(c modeltest.Config) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("no tiny %s", name)
	}
	return modeltest.Open(t, modeltest.Write(t, modeltest.Tiny[i])).Source
}

// TestLoadFor asks checkpoints for heads that they do not have.
func TestLoadFor(t *testing.T) {
	for _, c := range []struct {
		name  string
		kind  model.HeadKind
		fresh []string
		class string
	}{
		{"bert", model.SequenceLabels, []string{"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}, "BertForSequenceClassification"},
		{"bert", model.TokenLabels, []string{"classifier.weight", "classifier.bias"}, "BertForTokenClassification"},
		{"bert", model.AnswerSpan, []string{"qa_outputs.weight", "qa_outputs.bias"}, "BertForQuestionAnswering"},
		{"bert", model.MaskedToken, nil, "BertForMaskedLM"},
		{"roberta", model.SequenceLabels, []string{"classifier.dense.weight", "classifier.dense.bias", "classifier.out_proj.weight", "classifier.out_proj.bias"}, "RobertaForSequenceClassification"},
		{"t5", model.TargetToken, nil, "T5ForConditionalGeneration"},
		{"marian", model.TargetToken, nil, "MarianMTModel"}, // which the class is called
		{"llama", model.SequenceLabels, []string{"score.weight"}, "ForSequenceClassification"},
	} {
		t.Run(c.name+" "+c.kind.String(), func(t *testing.T) {
			src := tinyOf(t, c.name)
			want := model.Want{Kind: c.kind, Labels: []string{"no", "yes", "perhaps"}, RNG: rand.New(rand.NewPCG(1, 2))}
			m, err := model.LoadFor(src, want)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(m.Fresh, c.fresh) {
				t.Errorf("drawn are %v, want %v", m.Fresh, c.fresh)
			}
			if got := m.Config.Architectures; m.Kind != c.kind || !slices.Equal(got, []string{c.class}) {
				t.Errorf("architectures is %v of %s, want %s", got, m.Kind, c.class)
			}
			if _, n := m.Head().Dims(); c.kind == model.SequenceLabels && n != 3 {
				t.Errorf("%d labels, want 3", n)
			}
			want.RNG = rand.New(rand.NewPCG(1, 2))
			again, err := model.LoadFor(src, want)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(weights(m), weights(again)) {
				t.Error("the same rng gives other weights")
			}
			want.RNG = nil
			if _, err := model.LoadFor(src, want); len(c.fresh) > 0 && (err == nil || !strings.Contains(err.Error(), `tensor "`+c.fresh[0]+`" is missing`)) {
				t.Errorf("without an rng: %v, want an error that names %s", err, c.fresh[0])
			}
		})
	}
}

// weights are the numbers of a model's head.
func weights(m *model.Model) (list []float32) {
	m.Unfreeze()
	for name, p := range m.Params() {
		if !strings.Contains(name, ".layer.") && !strings.Contains(name, ".layers.") {
			list = append(list, op.Data(p)...)
		}
	}
	return list
}

// TestLoadForOtherLabels draws only the last projection anew when the number of labels changes.
func TestLoadForOtherLabels(t *testing.T) {
	i := slices.IndexFunc(modeltest.Tiny, func(c modeltest.Config) bool { return c.Name == "roberta" })
	c := modeltest.Tiny[i]
	c.JSON = strings.Replace(c.JSON, "ForMaskedLM", "ForSequenceClassification", 1)
	src := modeltest.Open(t, modeltest.Write(t, c)).Source
	for _, x := range []struct {
		labels []string
		fresh  []string
	}{
		{nil, nil},
		{[]string{"a", "b"}, nil}, // as many as it has
		{[]string{"a", "b", "c"}, []string{"classifier.out_proj.weight", "classifier.out_proj.bias"}},
	} {
		m, err := model.LoadFor(src, model.Want{Kind: model.SequenceLabels, Labels: x.labels, RNG: rand.New(rand.NewPCG(1, 2))})
		if err != nil || !slices.Equal(m.Fresh, x.fresh) {
			t.Errorf("labels %v: %v, drawn are %v, want %v", x.labels, err, m.Fresh, x.fresh)
		}
	}
	if _, err := model.LoadFor(tinyOf(t, "bart"), model.Want{Kind: model.SequenceLabels}); err == nil || !strings.Contains(err.Error(), "bart has no head ForSequenceClassification, want one of ForConditionalGeneration") {
		t.Errorf("a BART that classifies: %v, want an error that names its heads", err)
	}
	if _, err := model.LoadFor(src, model.Want{Kind: model.NextToken}); err == nil || !strings.Contains(err.Error(), "roberta has no head ForCausalLM, want one of Model, ForSequenceClassification") {
		t.Errorf("a causal RoBERTa: %v, want an error that names its heads", err)
	}
}
