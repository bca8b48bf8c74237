package data

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// start is the token before a target in these tests.
var start = int32('^')

func TestSeq2Seq(t *testing.T) {
	settings := Settings{Task: "seq2seq-lm", DecoderStart: &start, SourcePrefix: "t: ", KeepOrigin: true}
	set, report, err := Build(context.Background(), rowsOf(t, `{"source": "ab c", "target": "xy"}`, `{"source": "d", "target": " "}`, `{"source": "", "target": "z"}`), letters{}, nil, settings)
	if err != nil {
		t.Fatal(err)
	}
	if report.Shape != "seq2seq" || len(report.Dropped) != 2 || len(set) != 1 {
		t.Fatalf("shape %s, dropped %v, %d examples, want seq2seq, an empty source and an empty target, one", report.Shape, report.Dropped, len(set))
	}
	e := &set[0]
	if got, want := text(e.Source), "[t:abc]\x02"; got != want {
		t.Errorf("source %q, want %q", got, want)
	}
	want := []int32{'^', '[', 'x', 'y', ']', 2} // the tokenizer's own ] is not its eos_token, 2
	if !slices.Equal(e.IDs, want) || e.Targets() != len(want)-1 || e.Rows() != len(e.Source)+len(want)-1 || !slices.Equal(e.Prompt(), want[:1]) {
		t.Errorf("ids %v with %d targets in %d rows, want %v", e.IDs, e.Targets(), e.Rows(), want)
	}
	if o := e.Origin; o.Text != "ab c" || !slices.Equal(o.Golds, []string{"xy"}) {
		t.Errorf("origin %+v, want the texts of the row", o)
	}
	b := set.Batch([]int32{0, 0})
	if !slices.Equal(b.Tokens[:5], want[:5]) || !slices.Equal(b.Targets[:5], want[1:]) || len(b.Tokens) != 10 || b.NumRows() != 26 {
		t.Errorf("tokens %v, targets %v, want %v shifted, twice", b.Tokens, b.Targets, want)
	}
	if s := b.Source.Segments; !reflect.DeepEqual(s, []Segment{{End: 8}, {Start: 8, End: 16}}) || b.Source.Positions[8] != 0 || !slices.Equal(b.Source.Tokens[:8], e.Source) {
		t.Errorf("source %+v, want the example's tokens twice", b.Source)
	}
	other := slices.Clone(set)
	other[0].Source = []int32{1}
	if set.Fingerprint() == other.Fingerprint() {
		t.Error("the fingerprint does not depend on the source")
	}
}

// text reads ids that are letters.
func text(ids []int32) string {
	var s strings.Builder
	for _, id := range ids {
		s.WriteRune(id)
	}
	return s.String()
}

func TestSeq2SeqLengths(t *testing.T) {
	row := `{"source": "abcdefgh", "target": "uvwxyz"}`
	for _, c := range []struct {
		says           string
		s              Settings
		source, target string
		want           string // of the error
	}{
		{"both are cut", Settings{SequenceLen: 6, TargetLen: 5, DecoderStart: &start}, "[abc]\x02", "^[uv]\x02", ""},
		{"one length is for both", Settings{SequenceLen: 6, DecoderStart: &start}, "[abc]\x02", "^[uvw]\x02", ""},
		{"no end", Settings{SequenceLen: 6, AddEOS: new(bool), DecoderStart: &start}, "[abcd]", "^[uvwx]", ""},
		{"dropped", Settings{SequenceLen: 6, Overlong: "drop", DecoderStart: &start}, "", "", "longer than sequence_len"},
		{"refused", Settings{SequenceLen: 20, TargetLen: 5, Overlong: "raise", DecoderStart: &start}, "", "", "want at most target_len"},
		{"no start", Settings{}, "", "", "decoder_start_token_id"},
	} {
		c.s.Task = "seq2seq-lm"
		set, _, err := Build(context.Background(), rowsOf(t, row), letters{}, nil, c.s)
		switch {
		case c.want != "":
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want an error with %q", c.says, err, c.want)
			}
		case err != nil:
			t.Fatalf("%s: %v", c.says, err)
		case text(set[0].Source) != c.source || text(set[0].IDs) != c.target:
			t.Errorf("%s: source %q, target %q, want %q and %q", c.says, text(set[0].Source), text(set[0].IDs), c.source, c.target)
		}
	}
}

// TestSeq2SeqPredicts reads rows that lack what a model is to tell.
func TestSeq2SeqPredicts(t *testing.T) {
	rows := []Row{{Fields: Object{{"src", "ab"}}}, {Fields: Object{{"src", "c"}, {"tgt", "d"}}}, {Fields: Object{{"src", " "}}}}
	e, err := NewEncoder(letters{}, nil, Settings{Task: "seq2seq-lm", Predict: true, DecoderStart: &start, SourcePrefix: "t: "}, &rows[0])
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct{ source, wanted string }{{"[t:ab]\x02", ""}, {"[t:c]\x02", "d"}, {"", ""}} {
		ids, err := e.Prompt(&rows[i])
		if err != nil || text(ids) != want.source {
			t.Errorf("prompt %q (%v), want %q", text(ids), err, want.source)
		}
		if got, ok := e.Wanted(&rows[i]); got != want.wanted || ok != (want.wanted != "") {
			t.Errorf("wanted %q %v, want %q", got, ok, want.wanted)
		}
		x, err := e.Encode(&rows[i])
		if err != nil || len(x.Examples) > 0 && text(x.Examples[0].IDs) != "^" || (len(x.Examples) == 0) != (want.source == "") {
			t.Errorf("encoded as %+v (%v), want the start alone, or nothing", x, err)
		}
	}
	if _, err := e.Prompt(&Row{Fields: Object{{"tgt", "x"}}}); err == nil {
		t.Error("a row without a source is read, want an error")
	}
}
