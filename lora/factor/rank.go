package factor

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
)

// Choice says how many ranks a module gets: one of a number, a share of ‖ΔW‖² to keep, and a bound of the error; and never
// more than Most.
type Choice struct {
	Rank   int     // for every module
	Energy float64 // share of ‖ΔW‖² to keep, above 0 and at most 1
	Error  float64 // largest ‖lost‖/‖ΔW‖, above 0 and below 1
	Most   int     // with Energy or Error; 0: no bound
}

// check reports a choice that is none, or several.
func (c Choice) check() error {
	n := 0
	for _, given := range []bool{c.Rank != 0, c.Energy != 0, c.Error != 0} {
		if given {
			n++
		}
	}
	var errs []error
	if n != 1 {
		errs = append(errs, errors.New("factor: want one of rank, energy and error"))
	}
	if c.Rank < 0 {
		errs = append(errs, fmt.Errorf("factor: rank is %d, want at least 1", c.Rank))
	}
	if !(c.Energy >= 0 && c.Energy <= 1) {
		errs = append(errs, fmt.Errorf("factor: energy is %g, want above 0 and at most 1", c.Energy))
	}
	if !(c.Error >= 0 && c.Error < 1) {
		errs = append(errs, fmt.Errorf("factor: error is %g, want above 0 and below 1", c.Error))
	}
	if c.Most < 0 {
		errs = append(errs, fmt.Errorf("factor: the largest rank is %d, want at least 1", c.Most))
	}
	return errors.Join(errs...)
}

// share is what has to be kept of ‖ΔW‖².
func (c Choice) share() float64 {
	if c.Error > 0 {
		return 1 - c.Error*c.Error
	}
	return c.Energy
}

// of is the rank for these values; enough is false if there are not so many values yet.
func (c Choice) of(values []float64, energy float64) (rank int, enough bool) {
	if c.Rank > 0 {
		return min(c.Rank, len(values)), len(values) >= c.Rank
	}
	most := len(values)
	if c.Most > 0 {
		most = min(most, c.Most)
	}
	held := 0.0
	for k, s := range values[:most] {
		const slack = 1e-9 // of float64 sums of squares
		if held += s * s; held >= (c.share()-slack)*energy {
			return k + 1, true
		}
	}
	return most, c.Most > 0 && len(values) >= c.Most
}

// decompose finds as many values of a matrix as the choice needs: a few at first, then twice as many, and so on.
func (c Choice) decompose(w kernel.Mat, rng *rand.Rand) (linalg.SVD, int, error) {
	short := min(w.Rows, w.Cols)
	energy := linalg.Energy(w)
	const few = 16
	for n := min(max(few, c.Rank), short); ; n = min(2*n, short) {
		f, err := linalg.Leading(w, n, rng)
		if err != nil {
			return f, 0, err
		}
		if r, enough := c.of(f.S, energy); enough || len(f.S) >= short {
			return f, max(1, r), nil
		}
	}
}

// Resize gives every module of an adapter another rank, keeping as much as that can hold. The adapter is only read.
func Resize(a *Adapter, c Choice) (*Adapter, *Report, error) {
	if err := c.check(); err != nil {
		return nil, nil, err
	}
	config := *a.Config
	out := &Adapter{Name: a.Name, Config: &config, Rest: a.Rest}
	report := &Report{}
	for _, m := range a.Modules {
		scaled := kernel.NewMat(make([]float32, len(m.A.Data)), m.A.Rows, m.A.Cols)
		kernel.Axpy(scaled.Data, float32(m.Scale), m.A.Data)
		f, err := linalg.OfProduct(m.B, scaled)
		if err != nil {
			return nil, nil, fmt.Errorf("factor: %q: %w", m.Name, err)
		}
		r, _ := c.of(f.S, squares(f.S))
		r = max(1, min(r, numerical(f.S))) // beyond there is nothing
		n := Module{Name: m.Name, Embedding: m.Embedding, Scale: 1}
		n.A, n.B = split(f, r, true)
		out.Modules = append(out.Modules, n)
		report.Modules = append(report.Modules, newRow(m.Name, f.S, r, -1))
	}
	out.ranks(out.Config)
	report.sum()
	return out, report, alive(out.Modules, 0)
}

func squares(x []float64) (sum float64) {
	for _, v := range x {
		sum += v * v
	}
	return sum
}
