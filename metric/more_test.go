package metric

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
)

// more are random texts scored by the reference libraries; testdata/gen/more.py made them.
type more struct {
	Translation []struct {
		Hypotheses []string
		References [][]string
		BLEU       struct {
			Arguments  map[string]any
			Score      float64
			Precisions []float64
			Signature  string
		}
		CHRF, TER struct {
			Arguments map[string]any
			Score     float64
		}
		Tokenized struct {
			Tokenize string
			Lines    []string
		}
	}
	ROUGE []struct {
		References []string
		Prediction string
		UseStemmer bool `json:"use_stemmer"`
		Scores     []triple
	}
	Entities []struct {
		Tags    []string
		Default [][3]any
		Strict  map[string][][3]any
	}
	Classes []struct {
		True, Pred, Binary       []int
		Matthews, AUC, AP        float64
		Kappa, Pearson, Spearman *float64
		Weighted                 triple
		Score, Actual, Predicted []float64
		R2                       float64
	}
	Stems map[string]string
}

// readMore reads the file that GRAFT_METRIC_MORE names (the script makes more of them), else the one beside the test.
func readMore(t *testing.T) (m more) {
	t.Helper()
	path := os.Getenv("GRAFT_METRIC_MORE")
	if path == "" {
		path = "testdata/more.json"
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(withoutNaN(raw), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMoreTranslations(t *testing.T) {
	for i, c := range readMore(t).Translation {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			b, f, r := NewBLEU(), NewCHRF(), TER{}
			decodeStrict(t, c.BLEU.Arguments, bleuArguments(&b))
			bleu, err := b.Corpus(c.Hypotheses, c.References)
			if err != nil {
				t.Fatal(err)
			}
			near(t, "BLEU", bleu.Score, c.BLEU.Score)
			nearAll(t, "precisions", bleu.Precisions, c.BLEU.Precisions)
			if bleu.Signature != c.BLEU.Signature {
				t.Errorf("signature is %s, want %s", bleu.Signature, c.BLEU.Signature)
			}
			decodeStrict(t, c.CHRF.Arguments, chrfArguments(&f))
			chrf, err := f.Corpus(c.Hypotheses, c.References)
			if err != nil {
				t.Fatal(err)
			}
			near(t, "chrF", chrf, c.CHRF.Score)
			decodeStrict(t, c.TER.Arguments, terArguments(&r))
			ter, err := r.Corpus(c.Hypotheses, c.References)
			if err != nil {
				t.Fatal(err)
			}
			near(t, "TER", ter, c.TER.Score)
			tokenizer, err := bleuTokenizerNamed(c.Tokenized.Tokenize)
			if err != nil {
				t.Fatal(err)
			}
			for j, h := range c.Hypotheses {
				if got := tokenizer.cut(h); got != c.Tokenized.Lines[j] {
					t.Errorf("%s(%q) = %q, want %q", tokenizer.name, h, got, c.Tokenized.Lines[j])
				}
			}
		})
	}
}

func TestMoreSummaries(t *testing.T) {
	for i, c := range readMore(t).ROUGE {
		r := NewROUGE()
		r.UseStemmer = c.UseStemmer
		got, err := r.ScoreMulti(c.References, c.Prediction)
		if err != nil {
			t.Fatal(err)
		}
		for j, name := range r.Types {
			c.Scores[j].near(t, fmt.Sprintf("case %d %s", i, name), got[j])
		}
	}
}

func TestMoreEntities(t *testing.T) {
	list := func(want [][3]any) (out []Entity) {
		for _, e := range want {
			out = append(out, Entity{e[0].(string), int(e[1].(float64)), int(e[2].(float64))})
		}
		return out
	}
	for _, c := range readMore(t).Entities {
		if got, err := Entities(c.Tags); err != nil || !slices.Equal(got, list(c.Default)) {
			t.Errorf("Entities(%v) = %v, %v, want %v", c.Tags, got, err, c.Default)
		}
		for _, s := range Schemes {
			want, tested := c.Strict[s.Name]
			got, err := s.Entities(c.Tags)
			if !tested || (err != nil) != (want == nil) || err == nil && !slices.Equal(got, list(want)) {
				t.Errorf("%s: Entities(%v) = %v, %v, want %v", s.Name, c.Tags, got, err, want)
			}
		}
	}
}

func TestMoreClasses(t *testing.T) {
	for i, c := range readMore(t).Classes {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			got, err := Classify(c.True, c.Pred)
			if err != nil {
				t.Fatal(err)
			}
			near(t, "matthews", got.Matthews(), c.Matthews)
			near(t, "kappa", got.Kappa(), orNaN(c.Kappa))
			c.Weighted.near(t, "weighted", got.Averages().Weighted)
			binary := bools([][]int{c.Binary})[0]
			auc, err := ROCAUC(binary, c.Score)
			near(t, "auc", auc, c.AUC)
			ap, err2 := AveragePrecision(binary, c.Score)
			near(t, "average precision", ap, c.AP)
			r, err3 := Regress(c.Actual, c.Predicted)
			if err != nil || err2 != nil || err3 != nil {
				t.Fatal(err, err2, err3)
			}
			near(t, "r2", r.R2, c.R2)
			near(t, "pearson", r.Pearson, orNaN(c.Pearson))
			near(t, "spearman", r.Spearman, orNaN(c.Spearman))
		})
	}
}

func TestMoreStems(t *testing.T) {
	stems := readMore(t).Stems
	for _, w := range slices.Sorted(maps.Keys(stems)) {
		if got := Stem(w); got != stems[w] {
			t.Errorf("Stem(%s) = %s, want %s", w, got, stems[w])
		}
	}
}
