package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"time"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/meminfo"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/ag"
)

// Run trains until the last step, an early stop, an error, or the end of ctx. When ctx ends, the step that is going on is
// given up, a checkpoint is written, and the result says Interrupted; that is no error. An error leaves the checkpoints
// that exist as they are and writes no other.
func Run(ctx context.Context, j Job) (*Result, error) {
	r := &runner{Job: j}
	err := r.Folder.blame(r.run(ctx))
	if e := r.close(); err == nil {
		err = e // after another error this one would only repeat it
	}
	if err != nil {
		return nil, err
	}
	return r.result(), nil
}

// runner is a run that goes on.
type runner struct {
	Job
	optimizer *Optimizer
	schedule  Schedule
	state     State
	interrupt bool

	metrics, timing *appendLog
	board           *tensorBoard
	checkpoint      string // the newest
	savedStep       int    // of checkpoint; -1 if there is none
	adapter         string
	bestValues      [][]float32 // of the best evaluation, where there is no folder to keep them

	started   time.Time // of this session
	firstStep int       // of this session
	tokens    int64     // of this session
	targets   int64
}

func (r *runner) run(ctx context.Context) error {
	if err := r.setUp(); err != nil {
		return err
	}
	if r.EvalOnStart && r.state.Evaluated < 0 || r.state.EvalPending {
		if err := r.evaluate(ctx); err != nil {
			return r.stopOn(ctx, err)
		}
		if err := r.saveIfDue(); err != nil {
			return err
		}
	}
	for r.state.Step < r.Steps && r.state.Stopped == "" {
		if ctx.Err() != nil {
			return r.stopOn(ctx, ctx.Err())
		}
		if err := r.step(ctx); err != nil {
			return r.stopOn(ctx, err)
		}
		if r.evalDue() {
			if err := r.evaluate(ctx); err != nil {
				return r.stopOn(ctx, err)
			}
		}
		if err := r.saveIfDue(); err != nil {
			return err
		}
	}
	if r.evaluates() && r.state.Evaluated != r.state.Step {
		if err := r.evaluate(ctx); err != nil {
			return r.stopOn(ctx, err)
		}
	}
	return r.finish()
}

// setUp checks the job, builds what it names and restores a checkpoint if the folder has one.
func (r *runner) setUp() error {
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Report == nil {
		r.Report = func(Event) {}
	}
	if r.Arena == nil {
		r.Arena = op.NewArena()
	}
	if err := r.build(); err != nil {
		return err
	}
	if r.Schedule != nil {
		if err := r.Schedule.Begin(r.Steps); err != nil {
			return err
		}
	}
	r.state = State{TotalSteps: r.Steps, Seed: r.Seed, Optimizer: r.Optimizer, Evaluated: -1, Position: r.Source.Position()}
	r.state.Plateau, _ = r.schedule.(*Plateau)
	r.savedStep = -1
	if err := r.restore(); err != nil {
		return err
	}
	r.optimizer.ZeroGrad()
	r.started, r.firstStep = r.Now(), r.state.Step
	if err := r.openLogs(); err != nil {
		return err
	}
	if r.Folder != nil && r.Folder.from != nil { // the session before may have ended between its checkpoint and its curve
		return r.Folder.drawCurve()
	}
	return nil
}

// Check reports everything about the job that Run would refuse before its first step, as far as no file is needed.
func Check(j Job) error { return (&runner{Job: j}).build() }

// build makes what the job's configuration names.
func (r *runner) build() error {
	r.defaults()
	err := r.check()
	if err != nil {
		return err
	}
	var bad error
	r.schedule, bad = NewSchedule(r.Scheduler, ScheduleSettings{r.Steps, r.WarmupSteps, r.LearningRate, r.SchedulerArguments})
	groups := NewGroups(r.Params, Rates{r.LearningRate, r.WeightDecay, r.LoraPlusRatio, r.LoraPlusEmbedding})
	r.optimizer, err = NewOptimizer(r.Optimizer, groups, r.OptimizerArguments)
	return errors.Join(bad, err)
}

func (r *runner) defaults() {
	if r.Optimizer == "" {
		r.Optimizer = "adamw"
	}
	if r.Scheduler == "" {
		r.Scheduler = "linear"
	}
	if r.Metric == "" {
		r.Metric = "eval_loss"
	}
	r.LoggingSteps = max(1, r.LoggingSteps)
	r.WatchdogPatience = max(1, r.WatchdogPatience)
}

// restore goes on from the folder's checkpoint.
func (r *runner) restore() error {
	if r.Folder == nil {
		return nil
	}
	for _, w := range r.Folder.warnings {
		r.Report(Event{Kind: Warned, Message: w})
	}
	if !r.Folder.resumed {
		return nil
	}
	c := r.Folder.from
	if c == nil {
		r.Report(Event{Kind: Resumed, TotalSteps: r.Steps})
		return nil
	}
	if c.State.Optimizer != r.Optimizer || c.State.TotalSteps != r.Steps || c.State.Seed != r.Seed {
		return fmt.Errorf("train: %s: was written by optimizer %s, %d steps, seed %d; this run has %s, %d, %d",
			c.Dir, c.State.Optimizer, c.State.TotalSteps, c.State.Seed, r.Optimizer, r.Steps, r.Seed)
	}
	if err := c.restore(r.Params, r.optimizer, r.memories()); err != nil {
		return err
	}
	if err := r.Source.Seek(c.State.Position); err != nil {
		return fmt.Errorf("train: %s: %w", c.Dir, err)
	}
	plateau := r.state.Plateau
	r.state = c.State
	if plateau != nil {
		if p := c.State.Plateau; p != nil {
			plateau.Scale, plateau.Best, plateau.Bad, plateau.Cooldown = p.Scale, p.Best, p.Bad, p.Cooldown
		}
		r.state.Plateau = plateau
	}
	r.checkpoint, r.savedStep = c.Dir, c.State.Step
	r.Report(Event{Kind: Resumed, Step: r.state.Step, TotalSteps: r.Steps, Path: c.Dir})
	return nil
}

// memories are the numbers that optimizer and method must find again.
func (r *runner) memories() []StateTensor {
	list := r.optimizer.State()
	if r.Schedule != nil {
		for name, v := range r.Schedule.State() {
			list = append(list, StateTensor{"method/" + name, 1, len(v), v})
		}
	}
	return list
}

func (r *runner) openLogs() (err error) {
	if r.Folder == nil {
		return nil
	}
	dir := r.Folder.Dir
	if r.metrics, err = openLog(filepath.Join(dir, metricsFile), r.state.MetricsOffset, true); err != nil {
		return err
	}
	if r.timing, err = openLog(filepath.Join(dir, timingFile), r.state.TimingOffset, false); err != nil {
		return err
	}
	if !r.NoTensorBoard {
		r.board, err = newTensorBoard(filepath.Join(dir, boardDir), r.state.Step+1, r.Now)
	}
	return err
}

// close ends what the run has open.
func (r *runner) close() error {
	var errs []error
	for _, l := range []*appendLog{r.metrics, r.timing} {
		if l != nil {
			errs = append(errs, l.sync(), l.file.Close())
		}
	}
	if r.board != nil {
		errs = append(errs, r.board.file.Close())
	}
	if c, ok := r.Source.(io.Closer); ok {
		errs = append(errs, c.Close())
	}
	if r.Folder != nil {
		errs = append(errs, r.Folder.Close())
	}
	return errors.Join(errs...)
}

// step does one update.
func (r *runner) step(ctx context.Context) error {
	data, err := r.Source.Next()
	if err != nil {
		return fmt.Errorf("train: step %d: %w", r.state.Step+1, err)
	}
	sums, tokens, err := r.accumulate(ctx, data.Batches)
	if err != nil {
		return err
	}
	if r.Penalty != nil {
		r.Penalty(true)
	}
	factor := r.schedule.Factor(r.state.Step)
	norm := r.optimizer.GradNorm()
	loss := sums.Loss / sums.Weight
	if err := r.checkFinite(loss, norm, factor*r.LearningRate); err != nil {
		return err
	}
	if r.MaxGradNorm > 0 {
		r.optimizer.Clip(norm, r.MaxGradNorm)
	}
	r.optimizer.Step(factor)
	if r.Schedule != nil {
		r.Schedule.AfterStep(r.state.Step)
	}
	r.optimizer.ZeroGrad()

	s := &r.state
	s.Step++
	s.Epoch, s.Position = data.Epoch, r.Source.Position()
	s.TotalTokens += tokens
	s.TotalTargets += int64(sums.Targets)
	s.Interval.add(sums)
	s.LastLoss, s.LastGradNorm = loss, norm
	r.tokens += tokens
	r.targets += int64(sums.Targets)
	r.Report(r.event(Stepped, loss, factor))
	if err := r.Folder.attend(false); err != nil {
		return err
	}
	if s.Step%r.LoggingSteps == 0 || s.Step == r.Steps {
		if err := r.log(factor); err != nil {
			return err
		}
	}
	return r.watch(loss)
}

// accumulate adds the gradients of all batches of a step, each weighted by its targets' share of the step.
func (r *runner) accumulate(ctx context.Context, batches []*data.Batch) (sums Sums, tokens int64, err error) {
	weight := 0.0
	for _, b := range batches {
		weight += r.Objective.Weight(b)
	}
	if !(weight > 0) {
		return sums, 0, fmt.Errorf("train: step %d: the weights of its targets sum to %g, want more than 0", r.state.Step+1, weight)
	}
	for i, b := range batches {
		if err := ctx.Err(); err != nil {
			return sums, 0, err
		}
		p := r.pass(b)
		p.Grad, p.Train, p.Recompute, p.KeepAttention, p.Seed = true, true, r.Recompute, r.KeepAttention, passSeed(r.Seed, r.state.Step, i)
		loss, one, err := r.Objective.Loss(p, b, 1/weight, LossOptions{r.LabelSmoothing, r.NEFTuneAlpha})
		if err == nil && isFinite(one.Loss) { // else the step ends with the error about the loss
			err = ag.Backward(loss)
		}
		if err != nil {
			return sums, 0, fmt.Errorf("train: step %d: %w", r.state.Step+1, err)
		}
		r.Arena.Reset()
		sums.add(one)
		tokens += int64(b.NumRows())
	}
	return sums, tokens, nil
}

func (r *runner) pass(b *data.Batch) *op.Pass {
	return &op.Pass{Segments: b.Segments, Positions: b.Positions, Mode: r.Mode, Arena: r.Arena}
}

// passSeed is a number that differs for every batch of every step (splitmix64's output function over a counter).
func passSeed(seed uint64, step, batch int) uint64 {
	z := seed + 0x9e3779b97f4a7c15*(uint64(step)<<20+uint64(batch)+1)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func isFinite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// checkFinite ends a run that has left the numbers.
func (r *runner) checkFinite(loss, norm, rate float64) error {
	last := "no finite loss before"
	if r.state.Step > 0 {
		last = fmt.Sprintf("last finite loss %.6g", r.state.LastLoss)
	}
	where := fmt.Sprintf("(learning_rate %.6g, %s)", rate, last)
	if !isFinite(loss) {
		return fmt.Errorf("train: step %d: loss is %g %s", r.state.Step+1, loss, where)
	}
	if isFinite(norm) {
		return nil
	}
	for _, p := range r.Params {
		for i, g := range p.Grad {
			if !isFinite(float64(g)) {
				return fmt.Errorf("train: step %d: the gradient of %s is %g at [%d, %d], loss %.6g %s", r.state.Step+1, p.Name, g, i/p.Cols, i%p.Cols, loss, where)
			}
		}
	}
	return fmt.Errorf("train: step %d: gradient norm is %g, loss %.6g %s", r.state.Step+1, norm, loss, where)
}

// watch ends a run whose loss stays above the watchdog's threshold.
func (r *runner) watch(loss float64) error {
	if r.WatchdogThreshold <= 0 {
		return nil
	}
	if loss <= r.WatchdogThreshold {
		r.state.Watchdog = 0
		return nil
	}
	if r.state.Watchdog++; r.state.Watchdog < r.WatchdogPatience {
		return nil
	}
	return fmt.Errorf("train: step %d: loss is %.6g, above loss_watchdog_threshold %g for %d steps running", r.state.Step, loss, r.WatchdogThreshold, r.state.Watchdog)
}

// event describes the last step.
func (r *runner) event(kind EventKind, loss, factor float64) Event {
	e := Event{
		Kind: kind, Step: r.state.Step, TotalSteps: r.Steps, Epoch: r.state.Epoch, Loss: loss,
		LearningRate: factor * r.LearningRate, GradNorm: r.state.LastGradNorm, Elapsed: r.Now().Sub(r.started),
	}
	if seconds := e.Elapsed.Seconds(); seconds > 0 {
		e.TokensPerSecond, e.TargetsPerSecond = float64(r.tokens)/seconds, float64(r.targets)/seconds
	}
	if done := r.state.Step - r.firstStep; done > 0 {
		e.Remaining = time.Duration(float64(e.Elapsed) / float64(done) * float64(r.Steps-r.state.Step))
	}
	return e
}

// stopOn ends the run on an error: with a checkpoint if the error is the end of ctx.
func (r *runner) stopOn(ctx context.Context, err error) error {
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	r.interrupt = true
	r.optimizer.ZeroGrad()
	r.Arena.Reset()
	if r.state.Step == 0 {
		return nil // nothing was trained
	}
	return r.save()
}

// finish writes the last checkpoint and the result.
func (r *runner) finish() error {
	if err := r.save(); err != nil {
		return err
	}
	if err := r.loadBest(); err != nil {
		return err
	}
	if r.Folder == nil || r.Save == nil {
		return nil
	}
	dir, err := r.Folder.saveAdapter(r.Save)
	r.adapter = dir
	return err
}

// result sums the run up.
func (r *runner) result() *Result {
	s := r.state
	return &Result{
		Step: s.Step, TotalSteps: r.Steps, Interrupted: r.interrupt, Stopped: s.Stopped, Loss: s.LastLogged,
		Eval: s.LastEval, Best: s.Best, Checkpoint: r.checkpoint, Adapter: r.adapter, Tokens: s.TotalTokens, Targets: s.TotalTargets,
	}
}

// memory reads the process's resident memory.
func memory() Memory {
	u := meminfo.Read()
	return Memory{u.Anonymous, u.Mapped, u.Peak}
}
