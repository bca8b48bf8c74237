package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/metric"
)

// reference run of PEFT: a line of quality/results.jsonl.
type referenceRun struct {
	Recipe string    `json:"recipe"`
	Method string    `json:"method"`
	Seed   int       `json:"seed"`
	Losses []float64 `json:"losses"`
	Metric struct {
		ValidLoss float64 `json:"valid_loss"`
		BLEU      float64 `json:"bleu"`
	} `json:"-"`
	Scores map[string]any `json:"metric"`
}

// referenceRuns reads the runs of one recipe and method, by seed.
func referenceRuns(t *testing.T, recipe, method string) (runs []referenceRun) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(golden.Quality(t), "results.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		var r referenceRun
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.Recipe == recipe && r.Method == method {
			r.Metric.ValidLoss, _ = r.Scores["valid_loss"].(float64)
			r.Metric.BLEU, _ = r.Scores["bleu"].(float64)
			runs = append(runs, r)
		}
	}
	slices.SortFunc(runs, func(a, b referenceRun) int { return a.Seed - b.Seed })
	return runs
}

// e2e are the arguments that point the shipped recipe at the real model and data.
func e2e(t *testing.T, more ...string) []string {
	assets := golden.Assets(t)
	data := filepath.Join(assets, "datasets", "e2e-lora-format")
	return append([]string{"e2e-stories260k", "--set", "model.path=" + filepath.Join(assets, "models", "stories260K-hf"),
		"--set", "data.path=" + filepath.Join(data, "train.txt"), "--set", "data.eval_path=" + filepath.Join(data, "valid.txt")}, more...)
}

// qualityMethods are the methods of the e2e runs, with what the shipped recipe's [method] becomes.
var qualityMethods = []e2eMethod{
	{"lora-all-r16", "", "5e-3", roughly}, // the recipe's own
	{"lora-qv-r4", "type = \"lora\"\nr = 4\nlora_alpha = 8\ntarget_modules = [\"q_proj\", \"v_proj\"]\n", "2e-2", roughly},
	{"prefix-10-proj", "type = \"prefix_tuning\"\nnum_virtual_tokens = 10\nprefix_projection = true\nencoder_hidden_size = 64\n", "3e-2", unsteadily}, // the reference with one thread instead of two is 7.9e-3 away from itself
	{"houlsby", "type = \"houlsby\"\nreduction_factor = 4\nadapter_name = \"a\"\n", "5e-3", roughly},
}

// e2eMethod is a method, its section of a recipe, its rate, and by how much the first 50 losses may differ from the reference's.
type e2eMethod struct {
	name, method, rate string
	step50             float64
}

// TestQualityE2E trains the shipped recipe as the reference libraries did: from their initial values the losses agree step for
// step, and from our own the held-out loss of three seeds is the same within the noise between seeds.
func TestQualityE2E(t *testing.T) {
	if !*long {
		t.Skip("three runs of about a minute for each method: only with -long")
	}
	for _, m := range qualityMethods {
		t.Run(m.name, func(t *testing.T) { m.trainsAsReference(t) })
	}
}

// recipeWith is the shipped recipe with another method, as a file.
func recipeWith(t *testing.T, method string) string {
	t.Helper()
	text := ok(t, "cat", "e2e-stories260k").stdout
	before, rest, found := strings.Cut(text, "[method]\n")
	_, after, ends := strings.Cut(rest, "[data]\n")
	if !found || !ends {
		t.Fatalf("the recipe has no [method] before [data]:\n%s", text)
	}
	path := filepath.Join(t.TempDir(), "recipe.toml")
	if err := os.WriteFile(path, []byte(before+"[method]\n"+method+"[data]\n"+after), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func (m e2eMethod) trainsAsReference(t *testing.T) {
	init := filepath.Join(golden.Quality(t), "init", "e2e."+m.name+".safetensors")
	reference := referenceRuns(t, "e2e", m.name)
	mean, sd := meanSD(reference)
	dir := t.TempDir()
	total := 0.0
	const seeds = 3
	for seed := range seeds {
		out := filepath.Join(dir, fmt.Sprint("seed", seed))
		args := e2e(t, "--set", fmt.Sprint("data.seed=", seed), "--set", fmt.Sprint("train.seed=", seed), "--set", "model.compute=f32", "--set", "train.learning_rate="+m.rate, "--out", out)
		if m.method != "" {
			args[0] = recipeWith(t, m.method)
		}
		if seed == 0 {
			args = append(args, "--set", "method.init_values="+init)
		}
		ok(t, append([]string{"train"}, args...)...)
		losses, held := metricsOf(t, out)
		if seed == 0 {
			followsReference(t, losses, reference[0].Losses, m.step50)
		}
		t.Logf("seed %d: held-out loss per target token %.4f, %v", seed, held, bleuE2E(t, out))
		total += held
	}
	// The issue's own bound: 2 standard deviations of the reference's seeds, or 1 %.
	if d := math.Abs(total/seeds - mean); d > max(2*sd, 0.01*mean) {
		t.Errorf("held-out loss of %d seeds %.4f, want that of the reference %.4f ± %.4f", seeds, total/seeds, mean, max(2*sd, 0.01*mean))
	}
	t.Logf("held-out loss, mean of %d seeds: %.4f; reference %.4f, sd %.4f over %d seeds; BLEU of the reference %s", seeds, total/seeds, mean, sd, len(reference), bleus(reference))
}

// followsReference compares the losses of each step.
func followsReference(t *testing.T, got, want []float64, step50 float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d losses, want %d", len(got), len(want))
	}
	for _, n := range []int{50, len(want)} {
		worst := 0.0
		for i := range n {
			worst = max(worst, math.Abs(got[i]-want[i]))
		}
		t.Logf("losses of the first %d steps within %.2g of the reference's", n, worst)
		if n == 50 && worst > step50 { // float32 in another order of summation, over 50 updates
			t.Errorf("losses of the first 50 steps differ by %.3g, want at most %g", worst, step50)
		}
	}
}

// metricsOf reads the losses of each step and the last held-out loss of a run.
func metricsOf(t *testing.T, run string) (losses []float64, held float64) {
	t.Helper()
	c, ok := curvesOf(run)
	if !ok || len(c.EvalLosses) == 0 {
		t.Fatalf("%s has no losses", run)
	}
	return c.Losses, c.EvalLosses[len(c.EvalLosses)-1]
}

func meanSD(runs []referenceRun) (mean, sd float64) {
	for _, r := range runs {
		mean += r.Metric.ValidLoss / float64(len(runs))
	}
	for _, r := range runs {
		sd += (r.Metric.ValidLoss - mean) * (r.Metric.ValidLoss - mean) / float64(len(runs)-1)
	}
	return mean, math.Sqrt(sd)
}

func bleus(runs []referenceRun) string {
	var list []string
	for _, r := range runs {
		list = append(list, fmt.Sprintf("%.2f", r.Metric.BLEU))
	}
	return strings.Join(list, ", ")
}

// bleuE2E continues every sixth of the first 600 contexts of the test set, greedily, and scores against all references.
func bleuE2E(t *testing.T, run string) metric.BLEUScore {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(golden.Assets(t), "datasets", "e2e-lora-format", "test.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var contexts []string
	references := map[string][]string{}
	for _, line := range strings.Split(strings.TrimRight(string(b), "\n"), "\n") {
		context, target, _ := strings.Cut(line, "||")
		if references[context] == nil {
			contexts = append(contexts, context)
		}
		references[context] = append(references[context], strings.TrimSpace(target))
	}
	args := []string{"generate", run, "--json", "--compute", "f32", "-n", "120"}
	var wanted [][]string
	for i := 0; i < 600; i += 6 {
		args = append(args, "--prompt", contexts[i]+"||")
		wanted = append(wanted, references[contexts[i]])
	}
	var texts []struct{ Text string }
	if err := json.Unmarshal([]byte(ok(t, args...).stdout), &texts); err != nil {
		t.Fatal(err)
	}
	got := make([]string, len(texts))
	for i := range texts {
		got[i] = strings.TrimSpace(texts[i].Text)
	}
	bleu := metric.NewBLEU()
	bleu.Tokenize = "none" // the references are tokenised
	score, err := bleu.Corpus(got, wanted)
	if err != nil {
		t.Fatal(err)
	}
	return score
}

// TestQualityTrained evaluates the adapters that the reference libraries trained: they give the metric of their line.
func TestQualityTrained(t *testing.T) {
	if !*long {
		t.Skip("half a minute of evaluation: only with -long")
	}
	for _, method := range []string{"lora-all-r16", "lora-qv-r4", "houlsby"} {
		t.Run(method, func(t *testing.T) {
			adapter := filepath.Join(golden.Quality(t), "trained", "e2e", method)
			var e struct {
				Loss float64 `json:"eval_loss"`
			}
			args := append([]string{"eval", "--json", "--adapter", adapter}, e2e(t, "--set", "model.compute=f32")...)
			if err := json.Unmarshal([]byte(ok(t, args...).stdout), &e); err != nil {
				t.Fatal(err)
			}
			want := referenceRuns(t, "e2e", method)[0].Metric.ValidLoss
			t.Logf("held-out loss %.6f, the reference's %.6f", e.Loss, want)
			if math.Abs(e.Loss-want) > 1e-5 { // sums of 36,045 float32 losses
				t.Errorf("held-out loss %.7f, want %.7f", e.Loss, want)
			}
		})
	}
}
