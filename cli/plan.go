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
	"time"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/prefix"
	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/task"
	"github.com/graft-ml/graft/train"
	"github.com/nlpodyssey/spago/nn"
)

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
	// recompute says that the backward pass computes blocks again, attended that their attention's results are kept.
	recompute, attended bool
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
	j := train.Job{Config: p.settings(), Params: p.params, Objective: train.ForClasses(p.base.model, p.task, p.weights), Source: data.NewAhead(p.stream), Mode: p.base.mode, Recompute: p.recompute, KeepAttention: p.attended, Arena: op.NewArena()}
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
