package train

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// log writes the line about the steps since the last one.
func (r *runner) log(factor float64) error {
	s := &r.state
	loss := s.Interval.Loss / s.Interval.Weight
	s.Interval, s.LastLogged = Sums{}, loss
	e := r.event(Logged, loss, factor)
	e.Memory = memory()
	if r.Folder != nil {
		line, err := json.Marshal(LogLine{s.Step, r.Steps, s.Epoch, loss, e.LearningRate, s.LastGradNorm, s.TotalTokens, s.TotalTargets})
		if err == nil {
			err = r.metrics.write(line)
		}
		if err == nil {
			err = r.logTiming(e)
		}
		if err == nil {
			err = r.board.scalars(s.Step, Metric{"train/loss", loss}, Metric{"train/learning_rate", e.LearningRate},
				Metric{"train/grad_norm", s.LastGradNorm}, Metric{"train/epoch", s.Epoch}, Metric{"time/tokens_per_second", e.TokensPerSecond})
		}
		if err != nil {
			return err
		}
	}
	r.Report(e)
	return nil
}

func (r *runner) logTiming(e Event) error {
	line, err := json.Marshal(timingLine{
		Step: e.Step, Time: r.Now().UTC().Truncate(time.Millisecond), Elapsed: e.Elapsed.Seconds(), Remaining: e.Remaining.Seconds(),
		TokensPerSecond: e.TokensPerSecond, TargetsPerSecond: e.TargetsPerSecond, Anonymous: e.Memory.Anonymous, Mapped: e.Memory.Mapped,
	})
	if err != nil {
		return fmt.Errorf("train: %s: %w", timingFile, err)
	}
	return r.timing.write(line)
}

// evaluates tells whether the job has anything to evaluate.
func (r *runner) evaluates() bool { return r.Eval != nil || r.Metrics != nil }

// evalDue tells whether an evaluation follows the step that was done.
func (r *runner) evalDue() bool {
	step := r.state.Step
	return r.evaluates() && (step == r.Steps || r.EvalSteps > 0 && step%r.EvalSteps == 0)
}

// evaluate measures, compares with the best so far and decides on an early stop.
func (r *runner) evaluate(ctx context.Context) error {
	if !r.evaluates() {
		r.state.EvalPending = false
		return nil
	}
	s := &r.state
	s.EvalPending = s.Step > 0 // until it is done: an interruption is taken up here
	metrics, err := r.measure(ctx)
	if err != nil {
		return err
	}
	s.EvalPending, s.Evaluated, s.LastEval = false, s.Step, metrics
	r.savedStep = -1 // a checkpoint of this step, made when its evaluation was interrupted, is out of date
	value, err := r.compared(metrics)
	if err != nil {
		return err
	}
	best := r.improves(value)
	if best {
		s.Best, s.Worse = &Best{s.Step, r.Metric, value}, 0
		r.keepBest()
	} else if s.Worse++; r.EarlyStopping > 0 && s.Worse >= r.EarlyStopping {
		s.Stopped = fmt.Sprintf("early stopping: %s has not improved on %.6g of step %d for %d evaluations", r.Metric, s.Best.Value, s.Best.Step, s.Worse)
	}
	if s.Plateau != nil {
		s.Plateau.Observe(value)
	}
	if r.Folder != nil {
		if err := r.metrics.write(evalLine(s.Step, s.Epoch, metrics, best)); err != nil {
			return err
		}
		if err := r.board.scalars(s.Step, boardNames(metrics)...); err != nil {
			return err
		}
	}
	r.Report(Event{Kind: Evaluated, Step: s.Step, TotalSteps: r.Steps, Epoch: s.Epoch, Eval: metrics, Best: best})
	return nil
}

// boardNames turns "eval_loss" into "eval/loss", so that TensorBoard groups them.
func boardNames(metrics []Metric) []Metric {
	list := make([]Metric, len(metrics))
	for i, m := range metrics {
		list[i] = m
		if len(m.Name) > 5 && m.Name[:5] == "eval_" {
			list[i].Name = "eval/" + m.Name[5:]
		}
	}
	return list
}

// measure computes the mean loss per target over the evaluation data, and the caller's metrics.
func (r *runner) measure(ctx context.Context) ([]Metric, error) {
	var metrics []Metric
	if r.Eval != nil {
		var sums Sums
		for b, err := range r.Eval {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return nil, fmt.Errorf("train: step %d: evaluation: %w", r.state.Step, err)
			}
			loss, one, err := r.Objective.Loss(r.pass(b), b, 1, LossOptions{})
			if err != nil {
				return nil, fmt.Errorf("train: step %d: evaluation: %w", r.state.Step, err)
			}
			loss.Value() // an operator may compute in the background; the arena must not be reset before it is done
			r.Arena.Reset()
			sums.add(one)
		}
		if !(sums.Weight > 0) {
			return nil, fmt.Errorf("train: step %d: evaluation: the weights of its targets sum to %g, want more than 0", r.state.Step, sums.Weight)
		}
		metrics = append(metrics, Metric{"eval_loss", sums.Loss / sums.Weight})
		if sums.Targets > 0 {
			metrics = append(metrics, Metric{"eval_accuracy", float64(sums.Correct) / float64(sums.Targets)})
		}
	}
	if r.Metrics != nil {
		more, err := r.Metrics(ctx)
		if err != nil {
			return nil, fmt.Errorf("train: step %d: evaluation: %w", r.state.Step, err)
		}
		metrics = append(metrics, more...)
	}
	return metrics, nil
}

// compared is the metric that decides which evaluation is best.
func (r *runner) compared(metrics []Metric) (float64, error) {
	value, found := 0.0, false
	for _, m := range metrics {
		if !isFinite(m.Value) {
			return 0, fmt.Errorf("train: step %d: %s is %g", r.state.Step, m.Name, m.Value)
		}
		if m.Name == r.Metric {
			value, found = m.Value, true
		}
	}
	if !found {
		return 0, fmt.Errorf("train: eval.metric is %q, which the evaluation does not measure", r.Metric)
	}
	return value, nil
}

// improves compares with the best so far; NaN never gets here.
func (r *runner) improves(value float64) bool {
	best := r.state.Best
	switch {
	case best == nil:
		return true
	case r.GreaterIsBetter:
		return value > best.Value+r.EarlyStoppingDelta
	}
	return value < best.Value-r.EarlyStoppingDelta
}

// keepBest remembers the parameters where no checkpoint will.
func (r *runner) keepBest() {
	if !r.LoadBest || r.Folder != nil {
		return
	}
	r.bestValues = r.bestValues[:0]
	for _, p := range r.Params {
		r.bestValues = append(r.bestValues, append([]float32(nil), p.Value...))
	}
}

// loadBest ends with the parameters of the best evaluation.
func (r *runner) loadBest() error {
	best := r.state.Best
	if !r.LoadBest || best == nil || best.Step == r.state.Step {
		return nil
	}
	if r.Folder == nil {
		for i, p := range r.Params {
			copy(p.Value, r.bestValues[i])
		}
		return nil
	}
	c, err := OpenCheckpoint(stepDir(r.Folder.Dir, best.Step))
	if err != nil {
		return fmt.Errorf("train: the best checkpoint cannot be loaded: %w", err)
	}
	return c.Load(r.Params)
}

// saveIfDue writes the checkpoint that follows a step: every SaveSteps, and at a best evaluation if best ones are kept.
func (r *runner) saveIfDue() error {
	s := r.state
	due := r.SaveSteps > 0 && s.Step > 0 && s.Step%r.SaveSteps == 0
	best := s.Best != nil && s.Best.Step == s.Step && s.Evaluated == s.Step && (r.LoadBest || r.SaveSteps > 0)
	if due || best {
		return r.save()
	}
	return nil
}

// save writes a checkpoint unless this step has one.
func (r *runner) save() error {
	if r.Folder == nil || r.savedStep == r.state.Step {
		return nil
	}
	if err := r.Folder.attend(true); err != nil {
		return err
	}
	for _, l := range []*appendLog{r.metrics, r.timing} {
		if err := l.sync(); err != nil {
			return err
		}
	}
	r.state.MetricsOffset, r.state.TimingOffset = r.metrics.offset, r.timing.offset
	dir, err := r.Folder.saveCheckpoint(r.Params, r.memories(), r.state)
	if err != nil {
		return err
	}
	r.checkpoint, r.savedStep = dir, r.state.Step
	if err := r.Folder.drawCurve(); err != nil {
		return err
	}
	if r.SaveTotalLimit > 0 {
		best := -1
		if r.state.Best != nil {
			best = r.state.Best.Step
		}
		if err := r.Folder.prune(r.SaveTotalLimit, best); err != nil {
			return err
		}
	}
	r.Report(Event{Kind: Saved, Step: r.state.Step, TotalSteps: r.Steps, Path: dir})
	return nil
}
