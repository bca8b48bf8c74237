package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/data/source"
	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/prefix"
	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/task"
	"github.com/graft-ml/graft/tokenizer"
	"github.com/graft-ml/graft/train"
	"github.com/nlpodyssey/spago/nn"
)

// base is a model with its tokenizer, as a folder or the program itself holds them.
type base struct {
	path   string
	files  fs.FS
	config *model.Config
	src    *checkpoint.Checkpoint // nil if the weights are random
	model  *model.Model
	tok    *tokenizer.Tokenizer // nil if the folder has none
	mode   kernel.Mode
	bits   quantization
	fixed  bool  // nothing trains the weights themselves
	spared int64 // bytes of the file that are not read after loading: weights are kept in another form

	tokenizerHash string         // of the files that the tokenizer was read from
	later         sync.WaitGroup // what is written for later runs meanwhile

	unpacked *merge.Unpacked // nil if the weights are stored as they are
}

// arithmetic says how a model is kept and computed, in the words of recipes.
type arithmetic struct {
	compute, quantize string
	trained           bool // the weights themselves
}

// quantization is how the frozen projections are kept.
type quantization struct {
	kernel.DType
	on, head bool // head: that of the model, too
}

// headToo is what follows the name of a type that is the head's as well.
const headToo = "+head"

// apply quantises a model.
func (q quantization) apply(m *model.Model) (spared int64) {
	if q.on {
		spared += m.Quantise(q.DType)
	}
	if q.head {
		spared += m.QuantiseHead(q.DType)
	}
	return spared
}

// arithmeticOf is what a recipe says.
func arithmeticOf(r *recipes.Recipe) arithmetic {
	return arithmetic{r.Model.Compute, r.Model.Quantize, r.Method.TrainsBase()}
}

// parseQuantization reads the value of quantize.
func parseQuantization(text string) (quantization, error) {
	if text == "" || text == "none" {
		return quantization{}, nil
	}
	name, head := strings.CutSuffix(text, headToo)
	for _, d := range []kernel.DType{kernel.I8, kernel.NF4} {
		if d.String() == name {
			return quantization{d, true, head}, nil
		}
	}
	return quantization{}, usagef("model: quantize: %q, want none, int8 or nf4, the last two alone or with %s", text, headToo)
}

// openFolder opens a path of a recipe as a folder of files.
func openFolder(path string) (fs.FS, error) {
	if name, ok := strings.CutPrefix(path, recipes.Builtin); ok {
		if name != "quickstart" {
			return nil, usagef("model.path is %q, want a folder or \"builtin:quickstart\"", path)
		}
		return recipes.Quickstart(), nil
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("model: %s is a file, want the folder that holds config.json and model.safetensors", path)
	}
	return os.DirFS(path), nil
}

// openBase opens a model with frozen weights and its own head.
func openBase(ctx context.Context, path string, how arithmetic) (*base, error) {
	b, err := openFiles(path, how)
	if err != nil {
		return nil, err
	}
	return b, b.load(ctx, nil)
}

// load makes the model over its weights, with its own head or with that which a task wants.
func (b *base) load(ctx context.Context, w *model.Want) (err error) {
	if strings.HasPrefix(b.path, recipes.Builtin) {
		b.src, err = checkpoint.OpenFS(b.files)
	} else {
		b.src, b.unpacked, err = openWeights(ctx, b.path)
	}
	if err != nil {
		return err
	}
	if w == nil {
		b.model, err = model.Load(b.src)
	} else {
		b.model, err = model.LoadFor(b.src, *w)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", b.path, err), b.src.Close())
	}
	b.config = b.model.Config
	b.spared = b.keep(b.model)
	b.forget()
	return nil
}

// keep brings the weights of a model into the form that they are computed with, where that is not the file's. It returns how many
// bytes of the file are not read after that.
func (b *base) keep(m *model.Model) (spared int64) {
	spared += b.bits.apply(m)
	if b.mode == kernel.ModeBF16 && b.fixed {
		spared += m.Round(b.release)
	}
	return spared
}

// forget gives back memory of the file if much of it is not read any more.
func (b *base) forget() {
	if b.spared > 0 {
		b.release()
	}
}

// release gives back memory of the file; what is read again comes from it again.
func (b *base) release() {
	if b.src != nil {
		b.src.Forget()
	}
}

// draw makes the model with random weights by its config.json, with the head that a task wants.
func (b *base) draw(w model.Want, seed uint64) (err error) {
	b.model, err = model.NewFor(b.config, w, rand.New(rand.NewPCG(seed, 1)))
	return err
}

// openFiles opens the folder with its tokenizer.
func openFiles(path string, how arithmetic) (*base, error) {
	b := &base{path: path, mode: kernel.DefaultMode(), fixed: !how.trained}
	var err error
	if how.compute != "" && how.compute != "auto" {
		if b.mode, err = kernel.ParseMode(how.compute); err != nil {
			return nil, usageError{err}
		}
	}
	if b.bits, err = parseQuantization(how.quantize); err != nil {
		return nil, err
	}
	if b.files, err = openFolder(path); err != nil {
		return nil, err
	}
	if tokenizer.Found(b.files) {
		if err := b.openTokenizer(b.files); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	raw, err := fs.ReadFile(b.files, "config.json")
	if err != nil {
		return nil, fmt.Errorf("model: %s: %w", path, err)
	}
	if b.config, err = model.ParseConfig(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, b.checkTokenizer()
}

// openTokenizer reads the tokenizer of a folder.
func (b *base) openTokenizer(fsys fs.FS) (err error) {
	w := newWitness(fsys)
	b.tok, err = tokenizer.Open(w)
	b.tokenizerHash = w.hash()
	return err
}

// checkTokenizer refuses a tokenizer that knows tokens for which the model has no embedding.
func (b *base) checkTokenizer() error {
	if b.tok != nil && b.tok.VocabSize() > b.config.VocabSize {
		return fmt.Errorf("model: %s: tokenizer.json has %d tokens, vocab_size in config.json is %d: this is another model's tokenizer",
			b.path, b.tok.VocabSize(), b.config.VocabSize)
	}
	return nil
}

// checkFinite refuses weights that hold NaN or infinity, from which nothing can be learnt.
func (b *base) checkFinite(ctx context.Context) error {
	if b.src == nil {
		return nil
	}
	for _, name := range b.src.Names() {
		if i, not := b.src.FirstNonFinite(name); not {
			return fmt.Errorf("model: %s: tensor %q has at %d no finite number", b.path, name, i)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// needText says what is missing to read text.
func (b *base) needText() error {
	if b.tok == nil {
		return fmt.Errorf("model: %s has no tokenizer.json, which is needed to read text", b.path)
	}
	return nil
}

// needGenerate says what is missing to continue a text; a model that tells a text of a source does as well if sources are at hand.
func (b *base) needGenerate(sources bool) error {
	check := b.model.CheckGenerates
	if sources {
		check = b.model.CheckDecodes
	}
	if err := check(); err != nil {
		return fmt.Errorf("%s: %w; graft predict has it do what it is for", b.path, err)
	}
	return b.needText()
}

func (b *base) close() {
	b.later.Wait()
	if b.src != nil {
		b.src.Close()
	}
}

// plan is everything that a run needs, ready to start.
type plan struct {
	recipe   *recipes.Recipe
	name     string
	base     *base
	chat     data.Chat
	config   peft.Config  // nil for method full
	adapter  peft.Adapter // nil for method full
	params   []train.Param
	task     task.Task
	train    data.Set
	eval     data.Set
	labels   []string // of the rows, in the order of their numbers; nil for tasks without
	problem  string   // what the labels of whole texts are; "" for tasks without
	reports  []*data.Report
	recalled []string      // sources whose examples an earlier run had made
	masking  *data.Masking // of a masked language model, else nil
	weights  []float32     // of the labels; nil = all 1
	stream   *data.Stream
	options  generate.Options // of texts that are written
	notes    []string         // about them
	steps    int
	warmup   int
	took     map[string]time.Duration // by stage
	// recompute says that the backward pass computes blocks again.
	recompute bool
}

// loadRecipe reads a recipe by path, or one of the program's own by name.
func loadRecipe(arg string, sets []string) (*recipes.Recipe, string, error) {
	src, err := os.ReadFile(arg)
	dir := filepath.Dir(arg)
	if errors.Is(err, fs.ErrNotExist) {
		shipped, serr := recipes.Shipped(arg)
		if serr != nil {
			return nil, "", usagef("recipe %s: no such file, and no recipe of the program has this name (graft ls lists them)", arg)
		}
		src, dir, err = shipped, ".", nil
	}
	if err != nil {
		return nil, "", usagef("recipe: %w", err)
	}
	r, err := recipes.Load(arg, src, sets)
	if err != nil {
		return nil, "", usageError{err}
	}
	name := strings.TrimSuffix(filepath.Base(arg), ".toml")
	if !exists(filepath.Join(dir, "environment.json")) { // the recipe of a run has its paths resolved
		r.Resolve(dir, name)
	}
	return r, name, nil
}

// stage is a part of making a plan.
type stage struct {
	name string
	do   func(ctx context.Context, told func(string)) error
}

// stages are in the order in which they are done.
func (p *plan) stages() []stage {
	list := []stage{{"files", p.openBase}, {"tokenizer", p.openTokenizer}, {"task", p.settle}, {"model", p.openModel}, {"method", p.attach}, {"data", p.readData},
		{"texts", p.settleTexts}, {"schedule", p.schedule}}
	if m := p.recipe.Method; m.Type == "lora" && m.Adapter == "" && (&lora.Config{Init: m.InitWeights}).Looks() {
		list[4], list[5] = list[5], list[4] // it begins by the data
	}
	return list
}

// prepare makes the plan of a recipe. told is given a line about each stage.
func prepare(ctx context.Context, r *recipes.Recipe, name string, told func(string)) (*plan, error) {
	p := &plan{recipe: r, name: name, took: map[string]time.Duration{}}
	for _, stage := range p.stages() {
		begun := time.Now()
		if err := stage.do(ctx, told); err != nil {
			if p.base != nil {
				p.base.close()
			}
			return nil, err
		}
		p.took[stage.name] = time.Since(begun)
	}
	return p, nil
}

// openBase opens the model's folder.
func (p *plan) openBase(context.Context, func(string)) (err error) {
	p.base, err = openFiles(p.recipe.Model.Path, arithmeticOf(p.recipe))
	return err
}

// openTokenizer finds the tokenizer and the chat template.
func (p *plan) openTokenizer(context.Context, func(string)) error {
	m := p.recipe.Model
	var err error
	if m.Tokenizer != "" {
		if err := p.base.openTokenizer(os.DirFS(m.Tokenizer)); err != nil {
			return fmt.Errorf("%s: %w", m.Tokenizer, err)
		}
		if err := p.base.checkTokenizer(); err != nil {
			return err
		}
	}
	if err := p.base.needText(); err != nil {
		return err
	}
	p.chat, err = openChat(p.base.tok, m.ChatTemplate)
	return err
}

// attach makes the trainable parameters.
func (p *plan) attach(context.Context, func(string)) error {
	m := p.recipe.Method
	if m.Type == "full" {
		if err := p.unfreeze(m.Trainable); err != nil {
			return err
		}
		return p.initial(m.InitValues)
	}
	var err error
	if m.Adapter != "" {
		p.config, p.adapter, err = methods.Load(m.Adapter, p.base.model, peft.Allow{Idle: true, Zero: true})
	} else {
		if p.config, err = p.methodConfig(); err != nil {
			return err
		}
		p.config.Shared().TaskType = p.task.Type // which may name heads to train
		p.adapter, err = p.config.Attach(p.base.model, rand.New(rand.NewPCG(p.recipe.Train.Seed, 2)))
	}
	if err != nil {
		return err
	}
	p.config.Shared().BaseModel = p.recipe.Model.Path
	p.config.Shared().TaskType = p.task.Type
	p.params = train.NewParams(p.adapter.Params())
	if err := p.checkHead(); err != nil {
		return err
	}
	return p.initial(m.InitValues)
}

// unfreeze makes the weights trainable in whose names the pattern is found.
func (p *plan) unfreeze(pattern string) error {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return usagef("method.trainable: %w", err)
	}
	m := p.base.model
	m.UnfreezeSome(re.MatchString)
	p.params = slices.DeleteFunc(train.NewParams(m.Params()), func(q train.Param) bool { return !re.MatchString(q.Name) })
	if len(p.params) == 0 {
		var names []string
		for name := range m.Weights() {
			names = append(names, name)
		}
		return usagef("method.trainable is %q, which no weight's name has in it; there are %s …", pattern, strings.Join(names[:min(4, len(names))], ", "))
	}
	return p.checkHead()
}

// methodConfig turns the recipe's method into the method's own settings, by way of adapter_config.json.
func (p *plan) methodConfig() (peft.Config, error) {
	m, err := methods.Lookup(p.recipe.Method.Type)
	if err != nil {
		return nil, err
	}
	c := m.New()
	settings := p.recipe.Settings()
	p.saveHead(settings)
	if err := peft.Configure(c, m.Type, settings); err != nil {
		return nil, err
	}
	if x, ok := c.(*prefix.Prompt); ok && x.Text != "" {
		x.TextTokens, x.TokenizerName = p.base.tok.Encode(x.Text, true).IDs, p.recipe.Model.Path
	}
	if x, ok := c.(*lora.Config); ok {
		x.Sample = p.sample
	}
	return c, nil
}

// sampled is how many tokens of the data an initialiser sees.
const sampled = 1 << 14

// sample passes some of the training rows through the model.
func (p *plan) sample(m layer.Model) error {
	x, n, arena := m.(*model.Model), 0, op.NewArena()
	for b, err := range p.train.Batches(1024) {
		if err != nil || n >= sampled {
			return err
		}
		pass := op.NewPass(b.Segments, b.Positions, p.base.mode, arena)
		pass.Types, pass.Source = b.Types, b.Source
		x.Hidden(pass, b.Tokens)
		arena.Reset()
		n += len(b.Tokens)
	}
	return nil
}

// readData encodes the training and the held-out rows.
func (p *plan) readData(ctx context.Context, told func(string)) error {
	d := &p.recipe.Data
	limit := p.base.model.MaxTokens()
	if d.SequenceLen == 0 {
		d.SequenceLen = min(limit, 2048)
	}
	if d.SequenceLen > limit {
		before := ""
		if n := p.base.model.Config.MaxPositionEmbeddings - limit; n > 0 {
			before = fmt.Sprintf(", of which the method needs %d", n)
		}
		return usagef("data.sequence_len is %d, the model was made for max_position_embeddings %d%s", d.SequenceLen, p.base.model.Config.MaxPositionEmbeddings, before)
	}
	var sets []data.Weighted
	for _, s := range p.sources() {
		set, err := p.read(ctx, s.Path, s.Shape, limits{d.SkipRows, d.MaxRows}, d.EvalFraction > 0 || d.EvalEvery > 0, told)
		if err != nil {
			return err
		}
		sets = append(sets, data.Weighted{Set: set, Weight: s.Weight})
	}
	var err error
	if p.train = sets[0].Set; len(sets) > 1 || sets[0].Weight != 1 {
		if p.train, err = data.Mix(d.Seed, sets...); err != nil {
			return err
		}
	}
	switch {
	case d.EvalPath != "":
		if p.eval, err = p.read(ctx, d.EvalPath, d.Shape, limits{most: d.EvalMaxRows}, true, told); err != nil {
			return err
		}
	case d.EvalFraction > 0:
		p.train, p.eval = p.train.Split(d.EvalFraction, d.Seed)
	case d.EvalEvery > 0:
		p.train, p.eval = p.train.Every(d.EvalEvery)
	}
	if d.EvalMaxRows > 0 && d.EvalPath == "" {
		p.eval = p.eval[:min(len(p.eval), d.EvalMaxRows)]
	}
	p.train = p.train.Training()
	if len(p.train) == 0 {
		return fmt.Errorf("data: no rows to train on")
	}
	if p.task.Head == model.MaskedToken {
		mask, ok := p.base.tok.MASK()
		if !ok {
			return fmt.Errorf("data: the tokenizer has no mask_token, which model.task %q needs", p.task.Name)
		}
		p.masking = &data.Masking{Mask: mask, Vocabulary: p.base.tok.VocabSize(), Probability: d.MaskShare, WholeWord: d.WholeWord, Seed: d.Seed}
		p.eval = p.masking.Set(p.eval)
	}
	return nil
}

// read encodes one source. If evaluated, all or part of it is held out, so what reads predictions back is kept.
func (p *plan) read(ctx context.Context, path, shape string, n limits, evaluated bool, told func(string)) (data.Set, error) {
	told("reading " + path)
	set, report, err := p.encode(ctx, p.files(path, n), p.encoding(shape, evaluated))
	if err != nil && report != nil && report.Rows == 0 {
		return nil, fmt.Errorf("data: %s: no rows, want at least one", path)
	}
	if err != nil {
		return nil, err
	}
	p.reports = append(p.reports, report)
	return set, nil
}

// sources are those of the recipe.
func (p *plan) sources() []recipes.Source {
	d := &p.recipe.Data
	if d.Path != "" {
		return []recipes.Source{{Path: d.Path, Weight: 1, Shape: d.Shape}}
	}
	return d.Sources
}

// limits say which rows of a source are read.
type limits struct{ skip, most int } // most 0 = all

// rows reads a source.
func (p *plan) rows(path string, n limits) iter.Seq2[data.Row, error] { return p.files(path, n).Rows() }

// files are those of a source.
func (p *plan) files(path string, n limits) source.Files {
	files := source.Files{Unit: p.recipe.Data.Unit, Skip: n.skip, MaxRows: n.most}
	if name, ok := strings.CutPrefix(path, recipes.Builtin+"quickstart/"); ok {
		files.FS, files.Dir, files.Path = recipes.Quickstart(), recipes.Builtin+"quickstart", name
	} else {
		files.Dir, files.Path = source.Split(path)
		files.FS = os.DirFS(files.Dir)
	}
	return files
}

// encoding turns the recipe's section into data's own settings. If evaluated, what reads predictions back is kept.
func (p *plan) encoding(shape string, evaluated bool) data.Settings {
	d := &p.recipe.Data
	auto := func(s string) string {
		if s == "auto" {
			return ""
		}
		return s
	}
	return data.Settings{Shape: shape, Columns: d.Columns, Template: d.Template, System: d.System, Separator: d.Separator, TrainOnPrompt: d.TrainOnPrompt,
		SourcePrefix: d.SourcePrefix, TargetLen: d.TargetLen, DecoderStart: p.base.config.DecoderStartTokenID,
		SequenceLen: d.SequenceLen, Overlong: auto(d.Overlong), Concatenate: d.Concatenate, Workers: d.Workers,
		Task: p.task.Name, Labels: p.labels, ProblemType: auto(d.ProblemType), Stride: d.Stride, KeepOrigin: evaluated}
}

// schedule cuts the rows into steps and settles what the recipe left open.
func (p *plan) schedule(context.Context, func(string)) error {
	t, d := &p.recipe.Train, &p.recipe.Data
	if err := p.layOut(); err != nil {
		return err
	}
	batch := t.BatchSize
	if d.BatchTokens > 0 {
		batch = 0
	}
	var err error
	if p.weights, err = p.weighClasses(); err != nil {
		return err
	}
	p.stream, err = data.NewStream(p.train, data.Schedule{Order: d.Order, Seed: d.Seed, BatchSize: batch, BatchTokens: d.BatchTokens,
		Accumulation: t.Accumulation, MicroTokens: t.MicroTokens, Masking: p.masking, Share: p.shares()})
	if err != nil {
		return err
	}
	if p.steps = t.MaxSteps; p.steps == 0 {
		p.steps = p.stream.Steps(t.Epochs)
	}
	p.warmup = t.WarmupSteps
	if t.WarmupRatio > 0 {
		rounding := train.RoundUp
		if t.WarmupRounding == "nearest" {
			rounding = train.RoundNearest
		}
		p.warmup = train.WarmupSteps(t.WarmupRatio, p.steps, rounding)
	}
	if t.SaveSteps == 0 {
		t.SaveSteps = max(1, p.steps/10)
	}
	return nil
}

// named yields the trainable parameters.
func (p *plan) named() iter.Seq2[string, *nn.Param] {
	if p.adapter == nil {
		return p.base.model.Params()
	}
	return p.adapter.Params()
}

// baseHash identifies the base: its tensors, or how they are drawn.
func (p *plan) baseHash(ctx context.Context) (string, error) {
	if p.base.src != nil {
		return p.base.src.Hash(ctx)
	}
	raw, err := fs.ReadFile(p.base.files, "config.json")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(raw, "seed %d", p.recipe.Model.Seed))
	return hex.EncodeToString(sum[:]), nil
}

// hash identifies what decides the result: the recipe and the rows as they are trained on.
func (p *plan) hash() string {
	sum := sha256.Sum256([]byte(p.recipe.Hash() + p.train.Fingerprint() + p.eval.Fingerprint()))
	return hex.EncodeToString(sum[:])
}

// settings turns the recipe into the loop's own.
func (p *plan) settings() train.Config {
	t, e := p.recipe.Train, p.recipe.Eval
	if c, ok := p.config.(*lora.Config); ok && t.Optimizer == "lora_fa" && t.OptimizerArgs["scaling"] == nil {
		args := recipes.Table{"scaling": c.Scaling()}
		maps.Copy(args, t.OptimizerArgs)
		t.OptimizerArgs = args
	}
	return train.Config{Steps: p.steps, Optimizer: t.Optimizer, OptimizerArguments: t.OptimizerArgs, LearningRate: t.LearningRate,
		WeightDecay: t.WeightDecay, LoraPlusRatio: t.LoraPlusRatio, Scheduler: t.Scheduler, SchedulerArguments: t.SchedulerArgs,
		WarmupSteps: p.warmup, MaxGradNorm: t.MaxGradNorm, LabelSmoothing: t.LabelSmoothing, NEFTuneAlpha: t.NEFTuneAlpha, Seed: t.Seed,
		LoggingSteps: t.LoggingSteps, EvalSteps: e.Steps, EvalOnStart: e.OnStart, SaveSteps: t.SaveSteps, SaveTotalLimit: t.SaveTotalLimit,
		LoadBest: e.LoadBest, EarlyStopping: t.EarlyStopping, NoTensorBoard: !p.recipe.Output.TensorBoard, WatchdogThreshold: t.WatchdogLoss, WatchdogPatience: t.WatchdogPatience}
}

// job is the run as the loop wants it.
func (p *plan) job() train.Job {
	j := train.Job{Config: p.settings(), Params: p.params, Objective: train.ForClasses(p.base.model, p.task, p.weights), Source: data.NewAhead(p.stream), Mode: p.base.mode, Recompute: p.recompute, Arena: op.NewArena()}
	if a, ok := p.adapter.(peft.Penalized); ok {
		j.Penalty = a.Penalty
	}
	if a, ok := p.adapter.(peft.Scheduled); ok {
		j.Schedule = a
	}
	if len(p.eval) > 0 {
		j.Eval = p.eval.Batches(p.recipe.Train.MicroTokens)
		if p.judged() {
			j.Metrics = p.metrics
		}
	}
	return j
}
