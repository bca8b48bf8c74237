package merge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
)

const config = `{"architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16", "tie_word_embeddings": false}`

// model writes a base folder whose tensors have the dtype.
func model(t *testing.T, d checkpoint.DType, shard int64, config string) *checkpoint.Checkpoint {
	dir := filepath.Join(t.TempDir(), "base")
	if err := os.MkdirAll(filepath.Join(dir, "additional_chat_templates"), 0o777); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 11))
	tensor := func(name string, shape ...int) checkpoint.Entry {
		n := 1
		for _, s := range shape {
			n *= s
		}
		data := make([]byte, n*int(d.Size()))
		checkpoint.Encode(data, normal(rng, n, 0.5), d)
		return checkpoint.FromBytes(name, d, shape, data)
	}
	entries := []checkpoint.Entry{
		tensor("model.embed_tokens.weight", 31, 11), tensor("a.weight", 257, 131), tensor("c.weight", 13, 7), tensor("norm.weight", 13),
		checkpoint.FromBytes("ids", checkpoint.I64, []int{2}, make([]byte, 16)),
	}
	if _, err := checkpoint.WriteShards(dir, entries, checkpoint.ShardOptions{MaxShardSize: shard}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"config.json": config, "tokenizer.json": "{}", "generation_config.json": "{}", "README.md": "hi", "pytorch_model.bin": "no",
		"adapter_config.json": "no", "adapter_model.safetensors": "no", ".hidden": "no", "additional_chat_templates/x.jinja": "x",
	} {
		if name == "config.json" && text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func normal(rng *rand.Rand, n int, size float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64() * size)
	}
	return x
}

func lowRank(name string, out, in, rank int, transposed bool) *LowRank {
	rng := rand.New(rand.NewPCG(uint64(out), uint64(in)))
	return &LowRank{
		Tensor: name, Transposed: transposed, Scale: 1.5,
		A: kernel.NewMat(normal(rng, rank*in, 0.1), rank, in), B: kernel.NewMat(normal(rng, out*rank, 0.1), out, rank),
	}
}

// naive is W + scale·B·A in float64.
func naive(w []float32, l *LowRank) (sum, delta []float64) {
	rows, cols := l.Dims()
	sum, delta = make([]float64, rows*cols), make([]float64, rows*cols)
	for i := range rows {
		for j := range cols {
			o, in := i, j
			if l.Transposed {
				o, in = j, i
			}
			d := 0.0
			for r := range l.A.Rows {
				d += float64(l.B.Row(o)[r]) * float64(l.A.Row(r)[in])
			}
			delta[i*cols+j] = d * float64(l.Scale)
			sum[i*cols+j] = float64(w[i*cols+j]) + delta[i*cols+j]
		}
	}
	return sum, delta
}

func TestFold(t *testing.T) {
	half := map[checkpoint.DType]float64{checkpoint.F32: 1 << 24, checkpoint.F16: 1 << 11, checkpoint.BF16: 1 << 8}
	for _, c := range []struct {
		name  string
		in    checkpoint.DType
		dtype string
		out   checkpoint.DType
		shard int64
	}{
		{"f32 stays f32", checkpoint.F32, "", checkpoint.F32, 0},
		{"bf16 stays bf16", checkpoint.BF16, "", checkpoint.BF16, 0},
		{"f16 stays f16, in shards", checkpoint.F16, "", checkpoint.F16, 1000},
		{"bf16 becomes f32", checkpoint.BF16, "f32", checkpoint.F32, 0},
		{"f32 becomes bf16", checkpoint.F32, "bf16", checkpoint.BF16, 100_000},
		{"bf16 becomes f16", checkpoint.BF16, "f16", checkpoint.F16, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := model(t, c.in, c.shard, config)
			deltas := []*LowRank{lowRank("a.weight", 257, 131, 5, false), lowRank("c.weight", 7, 13, 3, true)}
			out := filepath.Join(t.TempDir(), "new", "merged")
			r, err := Fold(context.Background(), Job{Base: base, Deltas: []Delta{deltas[0], deltas[1]}, Out: out, DType: c.dtype, MaxShardSize: c.shard})
			if err != nil {
				t.Fatal(err)
			}
			got, err := checkpoint.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if !slices.Equal(got.Names(), base.Names()) || r.Tensors != 5 || r.Bytes != got.SizeBytes() {
				t.Errorf("tensors %q of %d bytes, report %+v", got.Names(), got.SizeBytes(), r)
			}
			for i, l := range deltas {
				info, _ := got.Info(l.Tensor)
				w, _ := base.Floats(l.Tensor)
				m, _ := got.Floats(l.Tensor)
				want, delta := naive(w, l)
				want32 := make([]float32, len(want))
				for k := range want {
					want32[k] = float32(want[k])
				}
				// One rounding to the output's dtype is half a unit in the last place; float32 sums of 5 terms add 1e-7.
				check.Close(t, l.Tensor, m, want32, 2e-7, 1/half[c.out])
				if info.DType != c.out {
					t.Errorf("%s is %s, want %s", l.Tensor, info.DType, c.out)
				}
				checkChange(t, r.Changed[i], l.Tensor, w, m, delta, c.out)
			}
			for _, name := range []string{"model.embed_tokens.weight", "norm.weight"} {
				w, _ := base.Floats(name)
				buf := make([]byte, len(w)*int(c.out.Size()))
				checkpoint.Encode(buf, w, c.out)
				if b, err := got.Bytes(name); err != nil || !bytes.Equal(b, buf) {
					t.Errorf("%s changed: %v", name, err)
				}
			}
			checkFiles(t, got, r, c.dtype)
		})
	}
}

// checkChange recomputes a line of the report in float64.
func checkChange(t *testing.T, c Change, name string, w, m []float32, delta []float64, d checkpoint.DType) {
	buf := make([]byte, len(w)*int(d.Size()))
	checkpoint.Encode(buf, w, d)
	checkpoint.Decode(w, buf, d) // the base as the output's dtype has it
	var biggest, lost, norm float64
	changed := 0
	for i, x := range delta {
		biggest = max(biggest, math.Abs(x))
		if m[i] != w[i] {
			changed++
		}
		e := float64(m[i]) - float64(w[i]) - x
		lost, norm = lost+e*e, norm+x*x
	}
	share, rel := float64(changed)/float64(len(w)), math.Sqrt(lost/norm)
	// The report's delta is float32: 1e-6 relative, and absolute where nothing is lost.
	if c.Tensor != name || c.Share != share || math.Abs(c.MaxDelta-biggest) > 1e-6*biggest || math.Abs(c.Lost-rel) > 1e-6+1e-3*rel {
		t.Errorf("report %+v, want max %g, share %g, lost %g", c, biggest, share, rel)
	}
}

func checkFiles(t *testing.T, got *checkpoint.Checkpoint, r *Report, dtype string) {
	var others []string
	for _, f := range r.Files {
		if !strings.Contains(f, "safetensors") {
			others = append(others, f)
		}
		if _, err := got.ReadFile(f); err != nil {
			t.Error(err)
		}
	}
	if want := "README.md additional_chat_templates/x.jinja config.json generation_config.json merge.json tokenizer.json"; strings.Join(others, " ") != want {
		t.Errorf("files %q, want %s", others, want)
	}
	b, _ := got.ReadFile("config.json")
	want := config
	if dtype != "" {
		want = strings.Replace(config, "bfloat16", map[string]string{"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[dtype], 1)
	}
	if string(b) != want {
		t.Errorf("config.json is %s, want %s", b, want)
	}
}

// TestSameBytes folds with different numbers of threads.
func TestSameBytes(t *testing.T) {
	base := model(t, checkpoint.BF16, 0, config)
	var first []byte
	var report string
	for _, threads := range []int{1, 2, 4} {
		old := runtime.GOMAXPROCS(threads)
		out := filepath.Join(t.TempDir(), "out")
		r, err := Fold(context.Background(), Job{Base: base, Deltas: []Delta{lowRank("a.weight", 257, 131, 5, false)}, Out: out})
		runtime.GOMAXPROCS(old)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(out, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		changed, err := json.Marshal(r.Changed)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first, report = b, string(changed)
		}
		if !bytes.Equal(b, first) || report != string(changed) {
			t.Errorf("%d threads: other bytes or report %s, want %s", threads, changed, report)
		}
	}
}

// bare is a delta of one value everywhere, without a Check.
type bare struct {
	name       string
	rows, cols int
	value      float32
}

func (b bare) Target() string   { return b.name }
func (b bare) Dims() (int, int) { return b.rows, b.cols }
func (b bare) AddTo(_, _ int, dst []float32) {
	for i := range dst {
		dst[i] += b.value
	}
}

func TestFoldRefuses(t *testing.T) {
	a := lowRank("a.weight", 257, 131, 5, false)
	with := func(change func(l *LowRank)) Delta {
		l := *a
		l.A = kernel.NewMat(slices.Clone(a.A.Data), a.A.Rows, a.A.Cols)
		change(&l)
		return &l
	}
	nan := float32(math.NaN())
	base := model(t, checkpoint.BF16, 0, config)
	f16 := model(t, checkpoint.F16, 0, config)
	tied := model(t, checkpoint.F32, 0, strings.Replace(config, "false", "true", 1))
	headless := model(t, checkpoint.F32, 0, `{"architectures": ["GPT2LMHeadModel"]}`)
	embed := bare{"model.embed_tokens.weight", 31, 11, 1}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "precious.txt"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		job  Job
		want string
	}{
		{"no deltas", nil, Job{Base: base}, "there is nothing to add: no deltas"},
		{"missing and misshapen targets", nil, Job{Base: base, Deltas: []Delta{a, bare{"z", 2, 3, 1}, bare{"c.weight", 7, 13, 1}, bare{"norm.weight", 1, 13, 1}, bare{"ids", 2, 1, 1}}},
			`no tensor "z", want one of [2, 3]; tensor "c.weight" is [13 7], but its delta is [7, 13]; tensor "ids" is I64, want F32, F16 or BF16; tensor "norm.weight" is [13], but its delta is [1, 13]`},
		{"one target twice", nil, Job{Base: base, Deltas: []Delta{a, a}}, `"a.weight" is changed twice`},
		{"NaN in a factor", nil, Job{Base: base, Deltas: []Delta{with(func(l *LowRank) { l.A.Data[133] = nan })}}, `"a.weight": A[1, 2] is NaN, want finite numbers`},
		{"an infinite scale", nil, Job{Base: base, Deltas: []Delta{with(func(l *LowRank) { l.Scale = float32(math.Inf(1)) })}}, `"a.weight": scale is +Inf`},
		{"factors of two ranks", nil, Job{Base: base, Deltas: []Delta{with(func(l *LowRank) { l.A = kernel.NewMat(l.A.Data, 4, 131) })}}, `A is [4, 131] and B is [257, 5], want one rank`},
		{"NaN from a delta", nil, Job{Base: base, Deltas: []Delta{bare{"c.weight", 13, 7, nan}}}, `"c.weight": row 0 and on: the delta is NaN at element 0`},
		{"a sum beyond f16", nil, Job{Base: f16, Deltas: []Delta{bare{"c.weight", 13, 7, 1e6}}}, `is beyond F16; a wider dtype may hold it`},
		{"NaN in a whole tensor", nil, Job{Base: base, Deltas: []Delta{&Whole{Tensor: "norm.weight", Rows: 13, Cols: 1, Data: append(make([]float32, 12), nan)}}}, `"norm.weight": [12, 0] is NaN, want finite numbers`},
		{"a whole tensor of another length", nil, Job{Base: base, Deltas: []Delta{&Whole{Tensor: "norm.weight", Rows: 13, Cols: 1, Data: make([]float32, 12)}}}, `"norm.weight": 12 numbers for [13, 1]`},
		{"all zero", nil, Job{Base: base, Deltas: []Delta{with(func(l *LowRank) { l.Scale = 0 })}}, "the adapter changes nothing: every delta is zero"},
		{"an unknown dtype", nil, Job{Base: base, Deltas: []Delta{a}, DType: "int8"}, `dtype is "int8", want one of bf16, f16, f32`},
		{"a tied embedding by config", nil, Job{Base: tied, Deltas: []Delta{embed}}, `is input embedding and head at once (tie_word_embeddings in config.json)`},
		{"a tied embedding by default", nil, Job{Base: headless, Deltas: []Delta{embed}}, `is input embedding and head at once (the checkpoint has no head of its own)`},
		{"a tied head", nil, Job{Base: tied, Deltas: []Delta{bare{"lm_head.weight", 31, 11, 1}}}, `"lm_head.weight" is input embedding and head at once`},
		{"the base as output", nil, Job{Base: base, Deltas: []Delta{a}, Out: base.Path() + "/../base", Force: true}, "is or holds the base"},
		{"the base's parent as output", nil, Job{Base: base, Deltas: []Delta{a}, Out: filepath.Dir(base.Path()), Force: true}, "is or holds the base"},
		{"an existing folder", nil, Job{Base: base, Deltas: []Delta{a}, Out: full}, "file already exists"},
		{"a folder that is no model", nil, Job{Base: base, Deltas: []Delta{a}, Out: full, Force: true}, "holds no model, so it is not replaced"},
		{"a file that leads out", nil, Job{Base: base, Deltas: []Delta{a}, Files: map[string][]byte{"../x": nil}}, `file "../x" leads out of the output folder`},
		{"a cancelled context", cancelled, Job{Base: base, Deltas: []Delta{a}}, "context canceled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			if c.job.Out == "" {
				c.job.Out = filepath.Join(root, "out")
			}
			if c.ctx == nil {
				c.ctx = context.Background()
			}
			_, err := Fold(c.ctx, c.job)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), ".tmp-") || strings.Contains(err.Error(), "\n") {
				t.Errorf("Fold: %v, want …%s…", err, c.want)
			}
			if left, _ := os.ReadDir(root); len(left) > 0 {
				t.Errorf("%s stayed behind", left[0].Name())
			}
		})
	}
	if b, err := os.ReadFile(filepath.Join(full, "precious.txt")); err != nil || string(b) != "x" {
		t.Error("a stranger's file is gone")
	}
}

func TestFoldReplaces(t *testing.T) {
	base := model(t, checkpoint.BF16, 1000, config)
	out := filepath.Join(t.TempDir(), "out")
	job := Job{Base: base, Deltas: []Delta{lowRank("a.weight", 257, 131, 5, false)}, Out: out, MaxShardSize: 1000}
	var last, total int64
	job.Progress = func(done, of int64) { last, total = max(last, done), of }
	one := runtime.GOMAXPROCS(1) // so that Progress is called from one goroutine at a time
	_, err := Fold(context.Background(), job)
	runtime.GOMAXPROCS(one)
	if err != nil || last != total || total != base.SizeBytes() {
		t.Fatalf("Fold: %v, progress %d of %d", err, last, total)
	}
	if _, err := Fold(context.Background(), job); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Fold onto a folder: %v, want file exists", err)
	}
	job.Force, job.MaxShardSize, job.Files = true, 0, map[string][]byte{"NOTE": []byte("n"), "config.json": []byte("{}")}
	r, err := Fold(context.Background(), job)
	if err != nil || !slices.Contains(r.Files, "model.safetensors") {
		t.Fatalf("Fold by force: %v, %v", err, r)
	}
	entries, err := os.ReadDir(out)
	if err != nil || len(entries) != len(r.Files) {
		t.Errorf("%d entries, want the %d of %v: old shards must be gone (%v)", len(entries), len(r.Files), r.Files, err)
	}
	if b, _ := os.ReadFile(filepath.Join(out, "config.json")); string(b) != "{}" {
		t.Errorf("config.json is %s", b)
	}
}

// TestWhole replaces tensors: a vector, and a matrix whose new values no sum with the old ones gives exactly.
func TestWhole(t *testing.T) {
	base := model(t, checkpoint.F32, 0, config)
	rng := rand.New(rand.NewPCG(17, 19))
	deltas := []Delta{&Whole{Tensor: "c.weight", Rows: 13, Cols: 7, Data: normal(rng, 91, 1e-6)}, &Whole{Tensor: "norm.weight", Rows: 13, Cols: 1, Data: normal(rng, 13, 1e-6)}}
	out := filepath.Join(t.TempDir(), "out")
	r, err := Fold(context.Background(), Job{Base: base, Deltas: deltas, Out: out})
	if err != nil {
		t.Fatal(err)
	}
	got, err := checkpoint.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	for i, d := range deltas {
		x, err := got.Floats(d.Target())
		if want := d.(*Whole).Data; err != nil || !slices.Equal(x, want) || r.Changed[i].Share != 1 || r.Changed[i].Lost > 1e-6 {
			t.Errorf("%s = %v, want %v (%v, %+v)", d.Target(), x, want, err, r.Changed[i])
		}
	}
}

func TestDiffering(t *testing.T) {
	for _, size := range []int{2, 4} {
		for n := range 40 {
			a := make([]byte, n*size)
			for i := range a {
				a[i] = byte(i * 89)
			}
			for _, flip := range []byte{0x01, 0x80, 0xff} {
				for at := range len(a) {
					b := slices.Clone(a)
					b[at] ^= flip
					if n > 1 {
						b[(at/size+1)%n*size] ^= 1 // and its neighbour
					}
					if got := differing(a, b, size); got != min(n, 2) {
						t.Fatalf("%d of %d bytes, byte %d flipped by %#x: %d, want %d", n, size, at, flip, got, min(n, 2))
					}
				}
			}
			if got := differing(a, a, size); got != 0 {
				t.Errorf("%d of %d bytes: %d differ from themselves", n, size, got)
			}
		}
	}
}

// TestMeasure compares the fast sums with float64 where squares leave float32's range.
func TestMeasure(t *testing.T) {
	for _, size := range []float64{0, 1e-30, 1e-3, 1e25} {
		rng := rand.New(rand.NewPCG(3, 5))
		base, delta := normal(rng, 1000, size), normal(rng, 1000, size/300)
		sum := make([]float32, len(base))
		for i := range sum {
			sum[i] = base[i] + delta[i]
		}
		data := make([]byte, 2*len(sum))
		checkpoint.Encode(data, sum, checkpoint.BF16)
		checkpoint.Decode(sum, data, checkpoint.BF16)
		var lost, norm float64
		for i, d := range delta {
			e := float64(sum[i]-base[i]) - float64(d)
			lost, norm = lost+e*e, norm+float64(d)*float64(d)
		}
		got := measure(base, delta, sum)
		if math.Abs(got.lost-lost) > 1e-5*lost || math.Abs(got.norm-norm) > 1e-5*norm { // 512 terms in float32
			t.Errorf("size %g: lost %g, norm %g, want %g, %g", size, got.lost, got.norm, lost, norm)
		}
	}
}

func TestAlgorithms(t *testing.T) {
	for _, a := range Algorithms {
		if a.Name == "" || a.Does == "" || a.open == nil {
			t.Errorf("%+v is incomplete", a)
		}
	}
}
