// Package train is the training loop and its run folder.
//
//	folder, err := train.Open("runs/first", identity, train.Fresh)
//	if err != nil {
//		return err
//	}
//	result, err := train.Run(ctx, train.Job{
//		Config:    train.Config{Steps: 400, LearningRate: 5e-3, MaxGradNorm: 1, SaveSteps: 100, LoggingSteps: 1},
//		Params:    train.NewParams(adapter.Params()),
//		Objective: loss,    // builds the graph of a batch's loss
//		Source:    batches, // gives the batches of each step
//		Folder:    folder,
//		Save:      func(dir string) error { return peft.Save(dir, adapter) },
//	})
//
// A step is one update of the parameters. Its batches (micro-batches) are accumulated: the loss of a step is
// Σ weight·loss / Σ weight over the targets of all of them, so how a step is cut into batches does not matter. A target is a
// token (or a label) with a loss; its weight is 1 unless the data say otherwise.
//
// # The run folder
//
//	recipe.toml        the resolved recipe, as the caller gave it
//	environment.json   what ran: {"recipe_hash", "base_hash", "sessions": [...]}, one session for each start or resume;
//	                   at a start it appears when the hash of the base is known
//	metrics.jsonl      one line for each logged step and each evaluation; deterministic, see below
//	timing.jsonl       the same steps with what differs from run to run: time, tokens per second, memory
//	loss.svg           the loss curve, drawn at every checkpoint
//	tensorboard/       event files, one for each start or resume
//	checkpoints/step-N what resuming needs, see below
//	adapter/           the result, written by the caller's Save when the run is complete
//	report.html        with report.md, report.json and eval/: what package report wrote after that
//
// The same recipe, base, seed, compute mode and kernel give the same bytes of metrics.jsonl and adapter/, whether or not the
// run was interrupted and resumed, and whatever GOMAXPROCS is. A line of metrics.jsonl is one of
//
//	{"step":10,"total_steps":400,"epoch":0.25,"loss":3.1,"learning_rate":0.001,"grad_norm":0.7,"total_tokens":5120,"total_targets":900}
//	{"step":100,"epoch":2.5,"eval_loss":2.9,"eval_accuracy":0.4,"best":true}
//
// loss is the mean per target over the steps since the line before; learning_rate and grad_norm (before clipping) are those
// of the last of them. A line of timing.jsonl is
//
//	{"step":10,"time":"2026-01-02T03:04:05Z","elapsed_seconds":12.1,"remaining_seconds":471.9,
//	 "tokens_per_second":4231,"targets_per_second":743,"memory_anonymous":123456789,"memory_mapped":2345678}
//
// A checkpoint holds
//
//	trainable.safetensors   every parameter, float32
//	optimizer.safetensors   every buffer of the optimizer, float32, named SLOT/PARAMETER, and of the method,
//	                        named method/NAME; absent if there are none
//	state.json              step, position in the data, random seed, accumulators, hashes: State
//	SHA256SUMS              "hash  name" of the three, as sha256sum -c reads it
//
// It is written under a temporary name, synced, and renamed: under a final name it is whole. Resuming takes the newest
// checkpoint whose sums agree, cuts metrics.jsonl and timing.jsonl to the lengths noted in it, and goes on. Randomness is
// a function of (seed, step, batch), so it has no further state. The three logs are the only files that grow in place:
// after a kill their last line may be incomplete until a resume cuts it off.
package train

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// Config are the hyper-parameters of a run. Zero means off unless the comment says otherwise.
type Config struct {
	Steps int // updates of the whole run

	Optimizer          string         // one of Optimizers; "" is "adamw"
	OptimizerArguments map[string]any // see Optimizers
	LearningRate       float64
	WeightDecay        float64
	LoraPlusRatio      float64 // learning_rate of B over that of A; see NewGroups
	LoraPlusEmbedding  float64 // learning rate of LoRA factors of embeddings under LoRA+
	Scheduler          string  // one of Schedules; "" is "linear"
	SchedulerArguments map[string]any
	WarmupSteps        int
	MaxGradNorm        float64 // gradients above this norm are scaled down to it

	LabelSmoothing float64 // handed to the objective
	NEFTuneAlpha   float64 // handed to the objective
	Seed           uint64  // of dropout and noise

	LoggingSteps   int  // a line in metrics.jsonl every so many steps; 0 is 1
	EvalSteps      int  // evaluate every so many steps; at the end in any case
	EvalOnStart    bool // evaluate before the first step, too
	SaveSteps      int  // checkpoint every so many steps; at the end in any case
	NoTensorBoard  bool // write no event files
	SaveTotalLimit int  // keep the newest so many checkpoints and the best one; 0 keeps all

	Metric             string  // what evaluations are compared by; "" is "eval_loss"
	GreaterIsBetter    bool    // of Metric
	LoadBest           bool    // end with the parameters of the best evaluation instead of the last step's
	EarlyStopping      int     // stop after so many evaluations without improvement
	EarlyStoppingDelta float64 // what counts as improvement: more than this

	WatchdogThreshold float64 // stop with an error when a step's loss is above …
	WatchdogPatience  int     // … for so many steps running; 0 is 1
}

// LossOptions are what the objective does besides the plain loss.
type LossOptions struct {
	LabelSmoothing float64
	NEFTuneAlpha   float64
}

// Sums are what a loss adds up over the targets of a batch.
type Sums struct {
	Loss    float64 `json:"loss"`   // Σ weight·loss
	Weight  float64 `json:"weight"` // Σ weight
	Targets int     `json:"targets"`
	Correct int     `json:"correct"` // targets that were the most likely prediction
}

func (s *Sums) add(t Sums) {
	s.Loss += t.Loss
	s.Weight += t.Weight
	s.Targets += t.Targets
	s.Correct += t.Correct
}

// Objective is the model with its loss.
type Objective interface {
	// Weight is Σ weight over the targets of the batch.
	Weight(b *data.Batch) float64
	// Loss builds the graph of scale·Σ weight·loss [1, 1] and returns the sums (unscaled) of the batch. If p.Grad, the node
	// is ready for ag.Backward, which adds to the gradients of the job's parameters.
	Loss(p *op.Pass, b *data.Batch, scale float64, o LossOptions) (mat.Tensor, Sums, error)
}

// Position is a place in the data: the epoch and how many of its steps were taken.
type Position = data.Position

// Step is the data of one update.
type Step = data.Step

// Source gives the data of each update, without end; a *data.Stream is one, and a *data.Ahead lays the next step out meanwhile. Run
// closes a source that is an io.Closer.
type Source = data.Steps

// Metric is a named result of an evaluation.
type Metric struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Scheduled is what changes itself as training goes on: see peft.Scheduled.
type Scheduled interface {
	Begin(steps int) error
	AfterStep(step int)
	State() iter.Seq2[string, []float32]
}

// Job is a run with everything it needs. Only Params, Objective and Source must be set.
type Job struct {
	Config
	Params    []Param
	Objective Objective
	Source    Source
	Mode      kernel.Mode
	// Recompute has passes for training keep of each block its result alone, KeepAttention that of its attention, too.
	Recompute, KeepAttention bool
	Arena                    *op.Arena // of all passes; nil makes one

	// Eval yields the batches whose mean loss per target is eval_loss; nil evaluates nothing.
	Eval iter.Seq2[*data.Batch, error]
	// Metrics measures more after each evaluation, names beginning with "eval_".
	Metrics func(ctx context.Context) ([]Metric, error)

	// Penalty is a term that the method adds to the loss, with its gradients; it is in no number that is logged. Nil is none.
	Penalty func(grad bool) float64
	// Schedule is a method that changes itself as training goes on; nil is none.
	Schedule Scheduled

	Folder *Folder                // nil writes nothing
	Save   func(dir string) error // writes the result into an empty folder
	Report func(Event)            // is told what happens; called from the loop's goroutine
	Now    func() time.Time       // the clock; nil is time.Now
}

// check reports everything about the job that cannot work.
func (j *Job) check() error {
	b := bounds{what: "config"}
	b.atLeast("max_steps", float64(j.Steps), 0)
	b.atLeast("warmup_steps", float64(j.WarmupSteps), 0)
	b.atLeast("max_grad_norm", j.MaxGradNorm, 0)
	b.atLeast("logging_steps", float64(j.LoggingSteps), 0)
	b.atLeast("eval_steps", float64(j.EvalSteps), 0)
	b.atLeast("save_steps", float64(j.SaveSteps), 0)
	b.atLeast("save_total_limit", float64(j.SaveTotalLimit), 0)
	b.within("label_smoothing", j.LabelSmoothing, 0, 1)
	b.atLeast("neftune_alpha", j.NEFTuneAlpha, 0)
	b.atLeast("loraplus_lr_ratio", j.LoraPlusRatio, 0)
	if j.EarlyStopping > 0 && j.Eval == nil && j.Metrics == nil {
		b.errs = append(b.errs, fmt.Errorf("train: config: early_stopping_patience is %d without evaluation data", j.EarlyStopping))
	}
	if err := CheckParams(j.Params); err != nil {
		b.errs = append(b.errs, err)
	}
	return b.err()
}

// Result is how a run ended.
type Result struct {
	Step, TotalSteps int
	Interrupted      bool     // the context was cancelled; Checkpoint says from where to resume
	Stopped          string   // why the run ended before TotalSteps by its own rules; "" if it did not
	Loss             float64  // of the last logged interval
	Eval             []Metric // of the last evaluation
	Best             *Best
	Checkpoint       string // the newest checkpoint's folder; "" if none was written
	Adapter          string // the folder that Save wrote; "" if none
	Tokens, Targets  int64  // read in all, including what a resume had behind it
}

// Best is the best evaluation so far.
type Best struct {
	Step  int     `json:"step"`
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// EventKind says what an Event tells.
type EventKind int

// The kinds of events.
const (
	Stepped   EventKind = iota // a step was done
	Logged                     // a line went into metrics.jsonl for the steps since the last
	Evaluated                  // an evaluation was done
	Saved                      // a checkpoint was written: Path
	Resumed                    // the run goes on from a checkpoint: Path; or from its beginning if Path is empty
	Warned                     // Message
)

// Event is what a run tells while it goes on. Which fields are set depends on the kind.
type Event struct {
	Kind             EventKind
	Step, TotalSteps int
	Epoch            float64
	Loss             float64 // of the step (Stepped) or the mean of the interval (Logged)
	LearningRate     float64
	GradNorm         float64 // before clipping
	TokensPerSecond  float64 // of this session
	TargetsPerSecond float64
	Elapsed          time.Duration // of this session
	Remaining        time.Duration // estimate
	Memory           Memory        // Logged only
	Eval             []Metric
	Best             bool // the evaluation is the best so far
	Path, Message    string
}

// Memory is resident memory in bytes.
type Memory struct{ Anonymous, Mapped, Peak int64 }
