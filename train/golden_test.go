package train

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/ag"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// TestGoldenTrain ranges over whatever files lie in the folder.
func TestGoldenTrain(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "train")
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("no reference values: %s has no *.json", dir)
	}
	suite := golden.NewSuite(t, "train")
	kinds := map[string]func(*golden.Suite, *testing.T, []byte){
		"schedules.json":  goldenSchedules,
		"optimizers.json": goldenOptimizers,
		"loraplus.json":   goldenLoraPlus,
		"formulas.json":   goldenFormulas,
	}
	for _, file := range files {
		run, ok := kinds[filepath.Base(file)]
		if !ok {
			suite.Case(filepath.Base(file), golden.Facts{"file": filepath.Base(file)}, func(t *testing.T) { t.Error("no test reads this file") })
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		run(suite, t, src)
	}
}

func decode(t *testing.T, src []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(src, into); err != nil {
		t.Fatal(err)
	}
}

func goldenSchedules(suite *golden.Suite, t *testing.T, src []byte) {
	var cases []struct {
		Type        string
		Arguments   map[string]any
		BaseLR      float64 `json:"base_lr"`
		Rates       []float64
		Metric      []float64
		TotalSteps  int `json:"total_steps"`
		WarmupSteps int `json:"warmup_steps"`
	}
	decode(t, src, &cases)
	for i, c := range cases {
		suite.Case(fmt.Sprintf("schedule %d %s", i, c.Type), golden.Facts{"schedule": c.Type}, func(t *testing.T) {
			s, err := NewSchedule(c.Type, ScheduleSettings{Steps: c.TotalSteps, WarmupSteps: c.WarmupSteps, LearningRate: c.BaseLR, Arguments: c.Arguments})
			if err != nil {
				t.Fatal(err)
			}
			for k, want := range c.Rates {
				if got := c.BaseLR * s.Factor(k); !(math.Abs(got-want) <= 1e-14) { // the same float64 formula, few operations
					t.Errorf("%s(%v): rate of update %d = %.17g, want %.17g", c.Type, c.Arguments, k, got, want)
				}
				if p, ok := s.(*Plateau); ok {
					p.Observe(c.Metric[k])
				}
			}
		})
	}
}

// flatten reads nested lists of numbers of any depth.
func flatten(v any) []float32 {
	if x, ok := v.(float64); ok {
		return []float32{float32(x)}
	}
	var all []float32
	for _, e := range v.([]any) {
		all = append(all, flatten(e)...)
	}
	return all
}

// toParam makes a parameter from one (possibly nested) list of numbers.
func toParam(name string, v any) Param {
	values := flatten(v)
	p := Param{Name: name, Rows: 1, Cols: len(values), Vector: true, Value: values, Grad: make([]float32, len(values))}
	list := v.([]any)
	if _, nested := list[0].([]any); nested {
		p.Rows, p.Cols, p.Vector = len(list), len(values)/len(list), false
	}
	return p
}

func goldenOptimizers(suite *golden.Suite, t *testing.T, src []byte) {
	var file struct {
		Curvature, Linear, Start []any
		Runs                     map[string]struct {
			Class     string
			Arguments map[string]any
			Float64   [][]any
			Float32   struct{ Final []any }
		}
	}
	decode(t, src, &file)
	for _, name := range slices.Sorted(maps.Keys(file.Runs)) {
		run := file.Runs[name]
		suite.Case("optimizer "+name, golden.Facts{"optimizer": run.Class}, func(t *testing.T) {
			rates, arguments := classArguments(run.Class, run.Arguments)
			var params []Param
			for i, v := range file.Start {
				params = append(params, toParam(fmt.Sprint("p", i), v))
			}
			o, err := NewOptimizer(strings.ToLower(run.Class), []Group{{params, rates.LearningRate, rates.WeightDecay}}, arguments)
			if err != nil {
				t.Fatal(err)
			}
			for k, want := range run.Float64 {
				for i, p := range params {
					curvature, linear := flatten(file.Curvature[i]), flatten(file.Linear[i])
					for j := range p.Value {
						p.Grad[j] = curvature[j]*p.Value[j] - linear[j]
					}
				}
				o.Step(1)
				for i, p := range params {
					// Twelve float32 updates of a contracting quadratic: a few units in the last place each.
					check.Close(t, fmt.Sprintf("step %d, parameter %d", k+1, i), p.Value, flatten(want[i]), 2e-6, 2e-6)
				}
			}
			for i, p := range params {
				// The same operations in the same order as the reference's float32; adafactor's means are summed more exactly.
				check.Close(t, fmt.Sprintf("float32 end, parameter %d", i), p.Value, flatten(run.Float32.Final[i]), 1e-6, 1e-6)
				t.Logf("%s: parameter %d: largest distance from the reference's float32 end %.2g", name, i, check.MaxDiff(p.Value, flatten(run.Float32.Final[i])))
			}
		})
	}
}

// classArguments separates the rates of a torch constructor from the arguments of the formula, over the class's defaults.
func classArguments(class string, arguments map[string]any) (Rates, map[string]any) {
	rates := Rates{LearningRate: map[string]float64{"SGD": 1e-3, "Adam": 1e-3, "AdamW": 1e-3, "Adagrad": 1e-2, "RMSprop": 1e-2}[class]}
	rest := map[string]any{}
	if class == "AdamW" {
		rates.WeightDecay = 1e-2
	}
	if class == "Adafactor" {
		rest["scale_parameter"], rest["relative_step"] = true, true
	}
	for k, v := range arguments {
		switch k {
		case "lr":
			rates.LearningRate = v.(float64)
		case "weight_decay":
			rates.WeightDecay = v.(float64)
		default:
			rest[k] = v
		}
	}
	return rates, rest
}

func goldenLoraPlus(suite *golden.Suite, t *testing.T, src []byte) {
	var cases []struct {
		Arguments map[string]float64
		Groups    []struct {
			LR          float64
			WeightDecay float64 `json:"weight_decay"`
			Parameters  []string
		}
	}
	decode(t, src, &cases)
	for i, c := range cases {
		suite.Case(fmt.Sprint("loraplus ", i), golden.Facts{"loraplus": "groups"}, func(t *testing.T) {
			var params []Param
			for _, g := range c.Groups {
				for _, name := range g.Parameters {
					params = append(params, Param{Name: name, Vector: strings.Contains(name, "norm") || strings.Contains(name, "bias")})
				}
			}
			groups := NewGroups(params, Rates{
				LearningRate: c.Arguments["lr"], WeightDecay: c.Arguments["loraplus_weight_decay"],
				LoraPlusRatio: c.Arguments["loraplus_lr_ratio"], LoraPlusEmbedding: c.Arguments["loraplus_lr_embedding"],
			})
			if len(groups) != len(c.Groups) {
				t.Fatalf("%d groups, want %d", len(groups), len(c.Groups))
			}
			for j, want := range c.Groups {
				var names []string
				for _, p := range groups[j].Params {
					names = append(names, p.Name)
				}
				if strings.Join(names, " ") != strings.Join(want.Parameters, " ") {
					t.Errorf("group %d holds %v, want %v", j, names, want.Parameters)
				}
				if got := groups[j]; math.Abs(got.LearningRate-want.LR) > 1e-15 || got.WeightDecay != want.WeightDecay {
					t.Errorf("group %d has rate %g and decay %g, want %g and %g", j, got.LearningRate, got.WeightDecay, want.LR, want.WeightDecay)
				}
			}
		})
	}
}

func goldenFormulas(suite *golden.Suite, t *testing.T, src []byte) {
	formulas := map[string]json.RawMessage{}
	decode(t, src, &formulas)
	tests := map[string]func(t *testing.T, src []byte){"clip_grad_norm": goldenClip, "gradient_accumulation": goldenAccumulation,
		"label_smoothing": goldenLabelSmoothing, "neftune": goldenNEFTune}
	for _, name := range slices.Sorted(maps.Keys(formulas)) {
		suite.Case("formula "+name, golden.Facts{"formula": name}, func(t *testing.T) {
			run, ok := tests[name]
			if !ok {
				t.Fatal("no test computes this formula")
			}
			run(t, formulas[name])
		})
	}
}

func goldenClip(t *testing.T, src []byte) {
	var cases []struct {
		Grads, Clipped []any
		MaxNorm        float64 `json:"max_norm"`
		TotalNorm      float64 `json:"total_norm"`
	}
	decode(t, src, &cases)
	for _, c := range cases {
		var params []Param
		for j, g := range c.Grads {
			p := toParam(fmt.Sprintf("max_norm %g, parameter %d", c.MaxNorm, j), g)
			p.Grad = p.Value
			params = append(params, p)
		}
		o, err := NewOptimizer("sgd", []Group{{Params: params}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		norm := o.GradNorm()
		if math.Abs(norm-c.TotalNorm) > 1e-6*c.TotalNorm { // the reference's inputs are float64, ours float32
			t.Errorf("GradNorm() = %.9g, want %.9g", norm, c.TotalNorm)
		}
		o.Clip(norm, c.MaxNorm)
		for j, p := range params {
			check.Close(t, p.Name, p.Grad, flatten(c.Clipped[j]), 0, 1e-6) // one product in float32
		}
	}
}

// goldenAccumulation runs the loop's accumulation over rows given one by one, and as one batch.
func goldenAccumulation(t *testing.T, src []byte) {
	var file struct {
		Inputs [][][]float64
		Labels [][]int32
		Weight []any
		Grad   []any   `json:"grad_whole_batch"`
		Loss   float64 `json:"loss_whole_batch"`
	}
	decode(t, src, &file)
	rows, cols := len(file.Weight), len(file.Inputs[0][0])
	w := op.NewParam(flatten(file.Weight), rows, cols)
	model := &softmax{w: w, inputs: file.Inputs}
	var micro []*data.Batch
	whole := &data.Batch{}
	for i, labels := range file.Labels {
		b := &data.Batch{Targets: labels}
		for j := range labels {
			b.Tokens = append(b.Tokens, int32(i*len(labels)+j)) // names a row of the inputs
		}
		micro = append(micro, b)
		whole.Tokens, whole.Targets = append(whole.Tokens, b.Tokens...), append(whole.Targets, b.Targets...)
	}
	for _, batches := range [][]*data.Batch{micro, {whole}} {
		r := &runner{Job: Job{Objective: model, Arena: op.NewArena()}}
		clear(op.GradOf(w))
		sums, _, err := r.accumulate(t.Context(), batches)
		if err != nil {
			t.Fatal(err)
		}
		if got := sums.Loss / sums.Weight; math.Abs(got-file.Loss) > 1e-6*file.Loss { // float32 weights
			t.Errorf("%d batches: loss %.9g, want %.9g", len(batches), got, file.Loss)
		}
		check.Close(t, fmt.Sprint(len(batches), " batches: gradient"), op.GradOf(w), flatten(file.Grad), 1e-6, 1e-6) // float32 sums of ten terms
	}
}

// goldenLabelSmoothing gives logits to a head that passes them on.
func goldenLabelSmoothing(t *testing.T, src []byte) {
	var file struct {
		Logits []any
		Target []int32
		Cases  []struct {
			Epsilon float64
			Loss    float64 `json:"torch_cross_entropy"`
		}
	}
	decode(t, src, &file)
	logits := flatten(file.Logits)
	rows := len(file.Target)
	vocab := len(logits) / rows
	one := make([]float32, vocab*vocab)
	for i := range vocab {
		one[i*vocab+i] = 1
	}
	head := &layer.Frozen{W: kernel.FrozenF32(one, vocab, vocab)}
	for _, c := range file.Cases {
		p := op.NewPass([]op.Segment{{End: rows}}, make([]int32, rows), kernel.ModeF32, op.NewArena())
		_, sums := op.CrossEntropy(p, op.NewTensor(logits, rows, vocab), head, op.CrossEntropySpec{Targets: file.Target, Scale: 1, Smoothing: c.Epsilon})
		if got := sums.Loss / sums.Weight; math.Abs(got-c.Loss) > 1e-6*c.Loss { // float32 logits and exponentials
			t.Errorf("epsilon %g: loss %.9f, want %.9f", c.Epsilon, got, c.Loss)
		}
	}
}

// goldenNEFTune draws noise over a table of zeros: its bound, its variance, and how near it comes to the bound.
func goldenNEFTune(t *testing.T, src []byte) {
	var cases []struct {
		Alpha, Bound, Variance float64
		Dim                    int `json:"embedding_dim"`
		Length                 int `json:"sequence_length"`
	}
	decode(t, src, &cases)
	for _, c := range cases {
		const sequences = 500 // draws of the smallest case
		table := &layer.Table{W: kernel.FrozenF32(make([]float32, c.Dim), 1, c.Dim)}
		var segments []op.Segment
		for i := range sequences {
			segments = append(segments, op.Segment{Start: i * c.Length, End: (i + 1) * c.Length})
		}
		n := sequences * c.Length
		p := op.NewPass(segments, make([]int32, n), kernel.ModeF32, op.NewArena())
		p.Train, p.Seed, p.NEFTune = true, 3, c.Alpha
		largest, sum, squares := 0.0, 0.0, 0.0
		noise := op.Of(op.Embed(p, table, make([]int32, n))).Values()
		for _, v := range noise {
			largest = max(largest, math.Abs(float64(v)))
			sum += float64(v)
			squares += float64(v) * float64(v)
		}
		// Of 500 or more uniform numbers the mean square has a relative deviation of 0.04 at most; the largest is near 1 − 1/500.
		count := float64(len(noise))
		if variance := squares / count; math.Abs(variance-c.Variance) > 0.16*c.Variance || math.Abs(sum/count) > 0.16*c.Bound {
			t.Errorf("alpha %g, length %d, dim %d: variance %g around %g, want %g around 0", c.Alpha, c.Length, c.Dim, variance, sum/count, c.Variance)
		}
		if largest > c.Bound*(1+1e-6) || largest < 0.98*c.Bound { // the bound is rounded to float32
			t.Errorf("alpha %g, length %d, dim %d: largest %g, want just below %g", c.Alpha, c.Length, c.Dim, largest, c.Bound)
		}
	}
}

// softmax is the model of the accumulation's reference: logits = W·input.
type softmax struct {
	w      *nn.Param // [classes, in]
	inputs [][][]float64
}

func (m *softmax) Weight(b *data.Batch) float64 { return float64(b.NumTargets()) }

func (m *softmax) Loss(p *op.Pass, b *data.Batch, scale float64, o LossOptions) (mat.Tensor, Sums, error) {
	f := &softmaxLoss{softmax: m, batch: b, scale: scale}
	return ag.NewOperator(f).Run(), f.sums, nil
}

type softmaxLoss struct {
	*softmax
	batch *data.Batch
	scale float64
	sums  Sums
	grad  []float64 // of W
}

func (f *softmaxLoss) Operands() []mat.Tensor { return []mat.Tensor{f.w} }

func (f *softmaxLoss) Forward() (mat.Tensor, error) {
	w, in := op.Data(f.w), len(f.inputs[0][0])
	f.grad = make([]float64, len(w))
	for t, target := range f.batch.Targets {
		if target == data.NoTarget {
			continue
		}
		row := int(f.batch.Tokens[t])
		x, sum := f.inputs[row/len(f.inputs[0])][row%len(f.inputs[0])], 0.0
		logits := make([]float64, len(w)/in)
		for c := range logits {
			for k := range x {
				logits[c] += float64(w[c*in+k]) * x[k]
			}
			sum += math.Exp(logits[c])
		}
		f.sums.Loss += math.Log(sum) - logits[target]
		f.sums.Weight++
		for c := range logits {
			d := math.Exp(logits[c]) / sum
			if c == int(target) {
				d--
			}
			for k := range x {
				f.grad[c*in+k] += d * x[k]
			}
		}
	}
	return mat.Scalar(float32(f.scale * f.sums.Loss)), nil
}

func (f *softmaxLoss) Backward(mat.Tensor) error {
	for i, g := range op.GradOf(f.w) {
		op.GradOf(f.w)[i] = g + float32(f.scale*f.grad[i])
	}
	return nil
}
