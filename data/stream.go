package data

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Schedule says in which order a set is visited, and how it is cut into optimizer steps.
//
// A step never reaches over the end of an epoch. Its examples are either BatchSize × Accumulation consecutive ones (the
// last step of an epoch has what is left), or Accumulation bins of at most BatchTokens tokens each, packed from packWindow
// consecutive examples at a time. Whatever a step has is laid out in micro-batches of at most MicroTokens tokens; their
// number changes memory and speed, not the result. An example is never cut; one that is longer than a budget goes alone.
type Schedule struct {
	Order        string // one of Orders; "" is shuffled
	Seed         uint64
	BatchSize    int      // examples; this or BatchTokens
	BatchTokens  int      // tokens of a bin
	Accumulation int      // 0 = 1
	MicroTokens  int      // 0 = no limit
	Share        bool     // lay out once what texts of a micro-batch begin with: see Batch.Share
	DropLast     bool     // leave out an epoch's last step if it has fewer than BatchSize × Accumulation examples, or bins
	Masking      *Masking // of masked language modelling; nil = the examples as they are
}

// packWindow is how many examples are packed at a time: enough to fill the bins, and few enough to keep the order.
const packWindow = 4096

// Position is a place in a stream: Index steps of the epoch have been taken.
type Position struct {
	Epoch int `json:"epoch"`
	Index int `json:"index"`
}

// Step is the data of one update.
type Step struct {
	Batches []*Batch // accumulated
	Epoch   float64  // epochs read after this step, fractions included
}

// Stream gives the steps of a run, epoch after epoch, without end. Not safe for concurrent use.
type Stream struct {
	set      Set
	schedule Schedule
	order    func(n int, seed uint64, epoch int) []int32
	at       Position

	epoch int       // that plan is for; -1 = none
	plan  [][]int32 // by step: the examples
}

// NewStream starts at the beginning of the first epoch.
func NewStream(set Set, s Schedule) (*Stream, error) {
	if s.Order == "" {
		s.Order = Orders[0].Name
	}
	if s.Accumulation == 0 {
		s.Accumulation = 1
	}
	st := &Stream{set: set, schedule: s, epoch: -1}
	var errs []error
	var names []string
	for _, o := range Orders {
		names = append(names, o.Name)
		if o.Name == s.Order {
			st.order = o.order
		}
	}
	if st.order == nil {
		errs = append(errs, fmt.Errorf("data: order is %q, want one of %s", s.Order, strings.Join(names, ", ")))
	}
	if (s.BatchSize > 0) == (s.BatchTokens > 0) {
		errs = append(errs, fmt.Errorf("data: batch_size is %d and batch_tokens is %d, want exactly one above 0", s.BatchSize, s.BatchTokens))
	}
	for _, f := range []struct {
		key string
		n   int
	}{{"batch_size", s.BatchSize}, {"batch_tokens", s.BatchTokens}, {"gradient_accumulation_steps", s.Accumulation}, {"micro_tokens", s.MicroTokens}} {
		if f.n < 0 || f.n > math.MaxInt32 {
			errs = append(errs, fmt.Errorf("data: %s is %d, want 0 to %d", f.key, f.n, math.MaxInt32))
		}
	}
	if len(set) == 0 {
		errs = append(errs, errors.New("data: no examples, want at least one"))
	}
	if len(errs) == 0 && st.StepsIn(0) == 0 {
		errs = append(errs, fmt.Errorf("data: %d examples do not fill one step, and drop_last leaves out what is not full", len(set)))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return st, nil
}

// StepsIn is the number of steps of an epoch. With BatchTokens it may differ between epochs.
func (s *Stream) StepsIn(epoch int) int {
	if s.schedule.BatchTokens == 0 {
		per := s.schedule.BatchSize * s.schedule.Accumulation
		if s.schedule.DropLast {
			return len(s.set) / per
		}
		return (len(s.set) + per - 1) / per
	}
	return len(s.planFor(epoch))
}

// Steps is the number of steps of so many epochs. Part of an epoch is rounded up to whole steps.
func (s *Stream) Steps(epochs float64) int {
	whole, part := math.Modf(epochs)
	n := 0
	for e := range int(whole) {
		n += s.StepsIn(e)
	}
	if part > 0 {
		n += int(math.Ceil(part * float64(s.StepsIn(int(whole)))))
	}
	return n
}

// Fill is the part of the token budget that the first epoch's bins use; 1 without BatchTokens.
func (s *Stream) Fill() float64 {
	if s.schedule.BatchTokens == 0 {
		return 1
	}
	tokens, space := 0, 0
	for _, bin := range s.bins(0) {
		n := 0
		for _, i := range bin {
			n += s.set[i].Rows()
		}
		tokens += n
		space += max(n, s.schedule.BatchTokens)
	}
	return float64(tokens) / float64(space)
}

// Largest is the micro-batch of the first epoch with the most rows, as it is laid out at the stream's place.
func (s *Stream) Largest() *Batch {
	var largest []int32
	most := 0
	for _, picked := range s.planFor(0) {
		for _, part := range s.micro(picked) {
			n := 0
			for _, i := range part {
				n += s.set[i].Rows()
			}
			if n > most {
				largest, most = part, n
			}
		}
	}
	return s.batch(largest)
}

// Position is that of what Next gives next.
func (s *Stream) Position() Position { return s.at }

// Seek makes Next go on from p. It needs no walk through what lies before.
func (s *Stream) Seek(p Position) error {
	if p.Epoch < 0 || p.Index < 0 {
		return fmt.Errorf("data: position is epoch %d, step %d, want at least 0", p.Epoch, p.Index)
	}
	if n := s.StepsIn(p.Epoch); p.Index >= n {
		return fmt.Errorf("data: position is step %d of epoch %d, which has %d steps: the data or their settings are not the same", p.Index, p.Epoch, n)
	}
	s.at = p
	return nil
}

// Next gives the next step.
func (s *Stream) Next() (Step, error) {
	plan := s.planFor(s.at.Epoch)
	picked := plan[s.at.Index]
	step := Step{Epoch: float64(s.at.Epoch) + float64(s.at.Index+1)/float64(len(plan))}
	for _, part := range s.micro(picked) {
		step.Batches = append(step.Batches, s.batch(part))
	}
	if s.at.Index++; s.at.Index == len(plan) {
		s.at = Position{Epoch: s.at.Epoch + 1}
	}
	return step, nil
}

// batch lays examples out, masked anew for this epoch if they are to be.
func (s *Stream) batch(picked []int32) *Batch {
	switch {
	case s.schedule.Share:
		return s.set.Batch(picked).Share()
	case s.schedule.Masking == nil:
		return s.set.Batch(picked)
	}
	masked := s.schedule.Masking.pick(s.set, picked, s.at.Epoch)
	return masked.Batch(sequential(len(masked), 0, 0))
}

// Examples are the indices of the examples in the step that Next gives next.
func (s *Stream) Examples() []int32 { return slices.Clone(s.planFor(s.at.Epoch)[s.at.Index]) }

// micro cuts a step's examples into micro-batches.
func (s *Stream) micro(picked []int32) [][]int32 {
	if s.schedule.MicroTokens == 0 {
		return [][]int32{picked}
	}
	parts := pack(s.lengths(picked), s.schedule.MicroTokens)
	for _, part := range parts {
		for k, i := range part {
			part[k] = picked[i]
		}
	}
	return parts
}

func (s *Stream) lengths(picked []int32) []int {
	n := make([]int, len(picked))
	for k, i := range picked {
		n[k] = s.set[i].Rows()
	}
	return n
}

// planFor lists the examples of each step of an epoch.
func (s *Stream) planFor(epoch int) [][]int32 {
	if s.epoch == epoch {
		return s.plan
	}
	var plan [][]int32
	if s.schedule.BatchTokens == 0 {
		plan = slices.Collect(slices.Chunk(s.order(len(s.set), s.schedule.Seed, epoch), s.schedule.BatchSize*s.schedule.Accumulation))
		plan = plan[:s.StepsIn(epoch)]
	} else {
		for group := range slices.Chunk(s.bins(epoch), s.schedule.Accumulation) {
			if s.schedule.DropLast && len(group) < s.schedule.Accumulation && len(plan) > 0 {
				break // but an epoch has at least one step
			}
			plan = append(plan, slices.Concat(group...))
		}
	}
	s.epoch, s.plan = epoch, plan
	return plan
}

// bins packs an epoch into bins of BatchTokens.
func (s *Stream) bins(epoch int) [][]int32 {
	var all [][]int32
	for window := range slices.Chunk(s.order(len(s.set), s.schedule.Seed, epoch), packWindow) {
		bins := pack(s.lengths(window), s.schedule.BatchTokens)
		for _, bin := range bins {
			for k, i := range bin {
				bin[k] = window[i]
			}
		}
		if s.schedule.Order == "shuffled" {
			// By their first entries, bins of many short examples would come before those of one long example.
			shuffle(bins, counter{s.schedule.Seed, binStream + uint64(epoch)<<32 + uint64(len(all))})
		}
		all = append(all, bins...)
	}
	return all
}
