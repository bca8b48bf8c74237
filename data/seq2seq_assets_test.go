package data_test

import (
	"context"
	"slices"
	"testing"

	"github.com/graft-ml/graft/data"
)

// TestT5AsItsPageSays has the ids that transformers' documentation of T5 prints for a translation.
func TestT5AsItsPageSays(t *testing.T) {
	start := int32(0)
	rows := func(yield func(data.Row, error) bool) {
		yield(data.Row{Fields: data.Object{{Name: "source", Value: "The house is wonderful."}, {Name: "target", Value: "Das Haus ist wunderbar."}}}, nil)
	}
	set, _, err := data.Build(context.Background(), rows, openTokenizer(t, "tokenizers/t5-small"), nil,
		data.Settings{Task: "seq2seq-lm", DecoderStart: &start, SourcePrefix: "translate English to German: ", SequenceLen: 32})
	if err != nil {
		t.Fatal(err)
	}
	source, target := []int32{13959, 1566, 12, 2968, 10, 37, 629, 19, 1627, 5, 1}, []int32{0, 644, 4598, 229, 19250, 5, 1}
	if !slices.Equal(set[0].Source, source) || !slices.Equal(set[0].IDs, target) {
		t.Errorf("%v and %v, want %v and %v", set[0].Source, set[0].IDs, source, target)
	}
}
