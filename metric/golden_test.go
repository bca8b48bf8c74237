package metric

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/golden"
)

// tolerance is for sums of some hundred float64 terms in another order.
const tolerance = 1e-12

// near compares numbers relatively; NaN is near NaN only.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.IsNaN(want) && math.IsNaN(got) || math.Abs(got-want) <= tolerance*max(1, math.Abs(want)) {
		return
	}
	t.Errorf("%s = %v, want %v", what, got, want)
}

// triple is precision, recall, F1; null is NaN.
type triple [3]*float64

func (w triple) near(t *testing.T, what string, got PRF) {
	t.Helper()
	for i, g := range []float64{got.Precision, got.Recall, got.F1} {
		near(t, what+[]string{" precision", " recall", " f1"}[i], g, orNaN(w[i]))
	}
}

func orNaN(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

// read decodes a file of golden values. Python writes NaN, which JSON does not know, as it is.
func read(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(golden.Dir(t), "metrics", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(withoutNaN(raw), into); err != nil {
		t.Fatal(err)
	}
}

// withoutNaN writes null for NaN outside of strings.
func withoutNaN(raw []byte) []byte {
	return regexp.MustCompile(`([:\[,]\s*)NaN\b`).ReplaceAll(raw, []byte("${1}null"))
}

func TestGoldenSeqeval(t *testing.T) {
	type result struct {
		Error                  string
		ByType                 map[string][4]float64 `json:"by_type"`
		Micro, Macro, Weighted triple
	}
	var file struct {
		Cases []struct {
			Name       string
			True, Pred [][]string
			Accuracy   float64
			Results    map[string]result
		}
	}
	read(t, "seqeval.json", &file)
	suite := golden.NewSuite(t, "metrics/seqeval")
	for _, c := range file.Cases {
		for _, mode := range slices.Sorted(maps.Keys(c.Results)) {
			want := c.Results[mode]
			suite.Case(c.Name+"/"+mode, nil, func(t *testing.T) {
				var scheme *Scheme
				if name, strict := strings.CutPrefix(mode, "strict-"); strict {
					var err error
					if scheme, err = SchemeNamed(name); err != nil {
						t.Fatal(err)
					}
				}
				got, err := EvaluateTags(c.True, c.Pred, scheme)
				if want.Error != "" {
					token := regexp.MustCompile(`found: (\S+)\. `).FindStringSubmatch(want.Error)[1]
					if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", token)) {
						t.Errorf("error is %v, want one that names %q", err, token)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				near(t, "accuracy", got.Accuracy, c.Accuracy)
				if len(got.Types) != len(want.ByType) {
					t.Errorf("types are %v, want those of %v", got.Types, want.ByType)
				}
				for i, name := range got.Types {
					w := want.ByType[name]
					triple{&w[0], &w[1], &w[2]}.near(t, name, got.Classes[i].PRF())
					near(t, name+" support", float64(got.Classes[i].Actual), w[3])
				}
				a := got.Averages()
				want.Micro.near(t, "micro", a.Micro)
				want.Macro.near(t, "macro", a.Macro)
				want.Weighted.near(t, "weighted", a.Weighted)
				near(t, "micro f1 of the sample", got.Sample().Value(), a.Micro.F1)
			})
		}
	}
}

func TestGoldenClassification(t *testing.T) {
	var file struct {
		Cases []struct {
			Name                   string
			True, Pred, Labels     []int
			Score                  []float64
			Confusion              [][]int
			Accuracy, Matthews     float64
			BalancedAccuracy       float64      `json:"balanced_accuracy"`
			Kappa                  *float64     `json:"cohen_kappa"`
			ROCAUC                 float64      `json:"roc_auc"`
			AveragePrecision       float64      `json:"average_precision"`
			PerClass               [4][]float64 `json:"per_class"`
			Micro, Macro, Weighted triple
			Binary                 *triple
		}
		Multilabel struct {
			True, Pred                      [][]int
			Hamming                         float64 `json:"hamming_loss"`
			Subset                          float64 `json:"subset_accuracy"`
			Micro, Macro, Weighted, Samples triple
		}
		Regression []struct {
			Name                            string
			True, Pred                      []float64
			MSE, MAE, R2, Pearson, Spearman float64
		}
	}
	read(t, "classification.json", &file)
	suite := golden.NewSuite(t, "metrics/classification")
	for _, c := range file.Cases {
		suite.Case(c.Name, nil, func(t *testing.T) {
			got, err := Classify(c.True, c.Pred)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got.Labels, got.Confusion) != fmt.Sprint(c.Labels, c.Confusion) {
				t.Errorf("confusion of %v = %v, want %v of %v", got.Labels, got.Confusion, c.Confusion, c.Labels)
			}
			for i, label := range c.Labels {
				triple{&c.PerClass[0][i], &c.PerClass[1][i], &c.PerClass[2][i]}.near(t, fmt.Sprint(label), got.Class(label))
				near(t, "support", float64(got.Classes[i].Actual), c.PerClass[3][i])
			}
			near(t, "accuracy", got.Accuracy(), c.Accuracy)
			near(t, "balanced accuracy", got.BalancedAccuracy(), c.BalancedAccuracy)
			near(t, "kappa", got.Kappa(), orNaN(c.Kappa))
			near(t, "matthews", got.Matthews(), c.Matthews)
			a := got.Averages()
			c.Micro.near(t, "micro", a.Micro)
			c.Macro.near(t, "macro", a.Macro)
			c.Weighted.near(t, "weighted", a.Weighted)
			if c.Binary == nil {
				return
			}
			c.Binary.near(t, "positive class", got.Class(1))
			actual := make([]bool, len(c.True))
			for i, v := range c.True {
				actual[i] = v == 1
			}
			auc, err := ROCAUC(actual, c.Score)
			near(t, "roc auc", auc, c.ROCAUC)
			ap, err2 := AveragePrecision(actual, c.Score)
			near(t, "average precision", ap, c.AveragePrecision)
			if err != nil || err2 != nil {
				t.Error(err, err2)
			}
		})
	}
	suite.Case("multilabel", nil, func(t *testing.T) {
		c := file.Multilabel
		got, err := ClassifyMulti(bools(c.True), bools(c.Pred))
		if err != nil {
			t.Fatal(err)
		}
		near(t, "hamming loss", got.HammingLoss, c.Hamming)
		near(t, "subset accuracy", got.SubsetAccuracy, c.Subset)
		a := got.Averages()
		c.Micro.near(t, "micro", a.Micro)
		c.Macro.near(t, "macro", a.Macro)
		c.Weighted.near(t, "weighted", a.Weighted)
		c.Samples.near(t, "samples", got.Samples)
	})
	for _, c := range file.Regression {
		suite.Case("regression/"+c.Name, nil, func(t *testing.T) {
			got, err := Regress(c.True, c.Pred)
			if err != nil {
				t.Fatal(err)
			}
			near(t, "mse", got.MSE, c.MSE)
			near(t, "mae", got.MAE, c.MAE)
			near(t, "r2", got.R2, c.R2)
			near(t, "pearson", got.Pearson, c.Pearson)
			near(t, "spearman", got.Spearman, c.Spearman)
		})
	}
}

func bools(rows [][]int) [][]bool {
	out := make([][]bool, len(rows))
	for i, row := range rows {
		for _, v := range row {
			out[i] = append(out[i], v == 1)
		}
	}
	return out
}

func TestGoldenSQuAD(t *testing.T) {
	type scores struct {
		EM float64
		F1 float64 `json:"f1_v1"`
		V2 float64 `json:"f1_v2"`
	}
	type threshold struct{ Threshold, Value float64 }
	var file struct {
		Rows []struct {
			Prediction, Normalised string
			Best                   scores
			Golds                  []struct {
				scores
				Gold string
			}
		}
		Totals scores
		V2     struct {
			HasAnsExact float64 `json:"HasAns_exact"`
			HasAnsF1    float64 `json:"HasAns_f1"`
			NoAnsExact  float64 `json:"NoAns_exact"`
			NoAnsF1     float64 `json:"NoAns_f1"`
			Exact, F1   float64
			BestExact   threshold `json:"best_exact"`
			BestF1      threshold `json:"best_f1"`
			Questions   []struct {
				ID, Prediction string
				Golds          []string
				Diff           float64 `json:"null_score_diff"`
				EM, F1         float64
			}
		}
	}
	read(t, "squad.json", &file)
	suite := golden.NewSuite(t, "metrics/squad")
	var all []Question
	for i, row := range file.Rows {
		q := Question{Prediction: row.Prediction}
		suite.Case(fmt.Sprintf("row %d", i), nil, func(t *testing.T) {
			if got := NormalizeAnswer(row.Prediction); got != row.Normalised {
				t.Errorf("NormalizeAnswer(%q) = %q, want %q", row.Prediction, got, row.Normalised)
			}
			for _, g := range row.Golds {
				q.Golds = append(q.Golds, g.Gold)
				near(t, "em with "+g.Gold, float64(count(ExactMatch(row.Prediction, g.Gold))), g.EM)
				near(t, "f1 with "+g.Gold, AnswerF1(row.Prediction, g.Gold), g.F1)
				near(t, "v2 f1 with "+g.Gold, AnswerF1V2(row.Prediction, g.Gold), g.V2)
			}
			one, err := SQuAD1([]Question{q})
			if err != nil {
				t.Fatal(err)
			}
			near(t, "best em", one.Exact, 100*row.Best.EM)
			near(t, "best f1", one.F1, 100*row.Best.F1)
			near(t, "best v2 f1", SQuAD2([]Question{q}).All.F1, 100*row.Best.V2)
		})
		all = append(all, q)
	}
	suite.Case("totals", nil, func(t *testing.T) {
		one, err := SQuAD1(all)
		if err != nil {
			t.Fatal(err)
		}
		two := SQuAD2(all)
		near(t, "em", one.Exact, file.Totals.EM)
		near(t, "f1", one.F1, file.Totals.F1)
		near(t, "v2 em", two.All.Exact, file.Totals.EM)
		near(t, "v2 f1", two.All.F1, file.Totals.V2)
	})
	suite.Case("version 2", nil, func(t *testing.T) {
		var questions []Question
		for _, q := range file.V2.Questions {
			question := Question{q.Prediction, q.Golds, q.Diff}
			alone := SQuAD2([]Question{question})
			near(t, q.ID+" em", alone.All.Exact, 100*q.EM)
			near(t, q.ID+" f1", alone.All.F1, 100*q.F1)
			questions = append(questions, question)
		}
		got, want := SQuAD2(questions), file.V2
		near(t, "exact", got.All.Exact, want.Exact)
		near(t, "f1", got.All.F1, want.F1)
		near(t, "HasAns_exact", got.HasAns.Exact, want.HasAnsExact)
		near(t, "HasAns_f1", got.HasAns.F1, want.HasAnsF1)
		near(t, "NoAns_exact", got.NoAns.Exact, want.NoAnsExact)
		near(t, "NoAns_f1", got.NoAns.F1, want.NoAnsF1)
		near(t, "best_exact", got.BestExact, want.BestExact.Value)
		near(t, "best_exact_thresh", got.ExactThreshold, want.BestExact.Threshold)
		near(t, "best_f1", got.BestF1, want.BestF1.Value)
		near(t, "best_f1_thresh", got.F1Threshold, want.BestF1.Threshold)
	})
}

// decodeStrict sets the fields of a metric's settings from their names in sacrebleu.
func decodeStrict(t *testing.T, arguments map[string]any, fields map[string]any) {
	t.Helper()
	for name, value := range arguments {
		raw, _ := json.Marshal(value)
		if fields[name] == nil {
			t.Fatalf("argument %s is not known to the test", name)
		}
		if err := json.Unmarshal(raw, fields[name]); err != nil {
			t.Fatal(err)
		}
	}
}

func bleuArguments(b *BLEU) map[string]any {
	return map[string]any{"tokenize": &b.Tokenize, "lowercase": &b.Lowercase, "smooth_method": &b.SmoothMethod,
		"smooth_value": &b.SmoothValue, "max_ngram_order": &b.MaxNgramOrder, "effective_order": &b.EffectiveOrder}
}

func chrfArguments(c *CHRF) map[string]any {
	return map[string]any{"char_order": &c.CharOrder, "word_order": &c.WordOrder, "beta": &c.Beta,
		"lowercase": &c.Lowercase, "whitespace": &c.Whitespace, "eps_smoothing": &c.EpsSmoothing}
}

func terArguments(r *TER) map[string]any {
	return map[string]any{"normalized": &r.Normalized, "no_punct": &r.NoPunct, "asian_support": &r.AsianSupport,
		"case_sensitive": &r.CaseSensitive}
}

func TestGoldenTranslation(t *testing.T) {
	type scored struct {
		Arguments map[string]any
		Score     float64
		Sentence  []float64
	}
	var file struct {
		Cases []struct {
			Name       string
			Hypotheses []string
			References [][]string
			BLEU       []struct {
				scored
				BP                         float64
				Counts, Totals, Precisions []float64
				SysLen                     int       `json:"sys_len"`
				RefLen                     int       `json:"ref_len"`
				Effective                  []float64 `json:"sentence_effective_order"`
				Signature, Tokenize        string
			}
			CHRF, TER []scored
			Tokenized struct {
				Inputs  []string
				Outputs []struct {
					Lines    []string
					Tokenize string
				}
			}
		}
	}
	read(t, "translation.json", &file)
	suite := golden.NewSuite(t, "metrics/translation")
	for _, c := range file.Cases {
		for i, want := range c.BLEU {
			suite.Case(fmt.Sprintf("%s/BLEU/%d-%s", c.Name, i, want.Signature), nil, func(t *testing.T) {
				b := NewBLEU()
				b.Tokenize = want.Tokenize
				decodeStrict(t, want.Arguments, bleuArguments(&b))
				got, err := b.Corpus(c.Hypotheses, c.References)
				if err != nil {
					t.Fatal(err)
				}
				near(t, "score", got.Score, want.Score)
				near(t, "bp", got.BP, want.BP)
				nearAll(t, "counts", got.Counts, want.Counts)
				nearAll(t, "totals", got.Totals, want.Totals)
				nearAll(t, "precisions", got.Precisions, want.Precisions)
				if got.Signature != want.Signature || got.SysLen != want.SysLen || got.RefLen != want.RefLen {
					t.Errorf("BLEU is %q, %d and %d words, want %q, %d and %d", got.Signature, got.SysLen, got.RefLen,
						want.Signature, want.SysLen, want.RefLen)
				}
				b.EffectiveOrder = true
				nearAll(t, "sentences", sentences(t, c.Hypotheses, c.References, func(h string, r []string) (float64, error) {
					s, err := b.Sentence(h, r)
					return s.Score, err
				}), want.Effective)
			})
		}
		for i, want := range c.CHRF {
			suite.Case(fmt.Sprintf("%s/chrF/%d", c.Name, i), nil, func(t *testing.T) {
				f := NewCHRF()
				decodeStrict(t, want.Arguments, chrfArguments(&f))
				got, err := f.Corpus(c.Hypotheses, c.References)
				if err != nil {
					t.Fatal(err)
				}
				near(t, "score", got, want.Score)
				nearAll(t, "sentences", sentences(t, c.Hypotheses, c.References, f.Sentence), want.Sentence)
			})
		}
		for i, want := range c.TER {
			suite.Case(fmt.Sprintf("%s/TER/%d", c.Name, i), nil, func(t *testing.T) {
				var r TER
				decodeStrict(t, want.Arguments, terArguments(&r))
				got, err := r.Corpus(c.Hypotheses, c.References)
				if err != nil {
					t.Fatal(err)
				}
				near(t, "score", got, want.Score)
			})
		}
		for _, want := range c.Tokenized.Outputs {
			suite.Case(c.Name+"/tokenize/"+want.Tokenize, nil, func(t *testing.T) {
				tokenizer, err := bleuTokenizerNamed(want.Tokenize)
				if err != nil {
					t.Fatal(err)
				}
				for i, line := range c.Tokenized.Inputs {
					if got := tokenizer.cut(line); got != want.Lines[i] {
						t.Errorf("%s(%q) = %q, want %q", want.Tokenize, line, got, want.Lines[i])
					}
				}
			})
		}
	}
}

// sentences scores segments one by one.
func sentences(t *testing.T, hypotheses []string, references [][]string, score func(string, []string) (float64, error)) (out []float64) {
	t.Helper()
	for i, h := range hypotheses {
		s, err := score(h, references[i])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func nearAll(t *testing.T, what string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s = %v, want %v", what, got, want)
		return
	}
	for i := range got {
		near(t, fmt.Sprintf("%s[%d]", what, i), got[i], want[i])
	}
}

func TestGoldenROUGE(t *testing.T) {
	var file struct {
		Pairs   []struct{ Prediction, Reference string }
		Results []struct {
			UseStemmer bool               `json:"use_stemmer"`
			MeanF      map[string]float64 `json:"mean_f"`
			Scores     []map[string]triple
		}
	}
	read(t, "rouge.json", &file)
	suite := golden.NewSuite(t, "metrics/rouge")
	r := ROUGE{Types: []string{"rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"}}
	for _, result := range file.Results {
		r.UseStemmer = result.UseStemmer
		var predictions []string
		var references [][]string
		for i, pair := range file.Pairs {
			predictions, references = append(predictions, pair.Prediction), append(references, []string{pair.Reference})
			suite.Case(fmt.Sprintf("stemmer %v/pair %d", r.UseStemmer, i), nil, func(t *testing.T) {
				got, err := r.Score(pair.Reference, pair.Prediction)
				if err != nil {
					t.Fatal(err)
				}
				if len(result.Scores[i]) != len(got) {
					t.Errorf("%d scores, want %d", len(got), len(result.Scores[i]))
				}
				for j, name := range r.Types {
					result.Scores[i][name].near(t, name, got[j])
				}
			})
		}
		suite.Case(fmt.Sprintf("stemmer %v/mean", r.UseStemmer), nil, func(t *testing.T) {
			got, err := r.Corpus(predictions, references)
			if err != nil {
				t.Fatal(err)
			}
			for j, name := range r.Types {
				near(t, name, got[j].F1, result.MeanF[name])
			}
		})
	}
}

func TestGoldenPerplexity(t *testing.T) {
	var file struct {
		Bits   float64 `json:"bits_per_token"`
		Corpus float64 `json:"corpus_perplexity"`
		Mean   float64 `json:"mean_of_row_perplexities"`
		Rows   []struct {
			Logits     [][]float64
			Targets    []int
			NLL        []float64
			Perplexity float64
		}
	}
	read(t, "perplexity.json", &file)
	suite := golden.NewSuite(t, "metrics/perplexity")
	var corpus Loss
	var rows []float64
	for i, row := range file.Rows {
		suite.Case(fmt.Sprintf("row %d", i), nil, func(t *testing.T) {
			var loss Loss
			for j, logits := range row.Logits {
				nll, err := NLL(logits, row.Targets[j])
				if err != nil {
					t.Fatal(err)
				}
				near(t, fmt.Sprintf("nll[%d]", j), nll, row.NLL[j])
				loss.Add(nll)
			}
			near(t, "perplexity", loss.Perplexity(), row.Perplexity)
			corpus.Merge(loss)
			rows = append(rows, loss.Perplexity())
		})
	}
	suite.Case("corpus", nil, func(t *testing.T) {
		near(t, "perplexity", corpus.Perplexity(), file.Corpus)
		near(t, "bits per token", corpus.BitsPerToken(), file.Bits)
		near(t, "mean of rows", mean(rows), file.Mean)
	})
}
