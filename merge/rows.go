package merge

import "fmt"

// Rows replaces some rows of a matrix: embeddings of single tokens.
type Rows struct {
	Tensor     string
	Rows, Cols int       // of the whole matrix
	IDs        []int     // which rows
	Data       []float32 // [len(IDs), Cols]
	BothEnds   bool      // see AtBothEnds
}

// Target implements Delta.
func (r *Rows) Target() string { return r.Tensor }

// Dims implements Delta.
func (r *Rows) Dims() (rows, cols int) { return r.Rows, r.Cols }

// AtBothEnds says that embedding and head stay equal, if these are tied.
func (r *Rows) AtBothEnds() bool { return r.BothEnds }

// Change implements Changer.
func (r *Rows) Change(lo, hi int, base, dst []float32) {
	copy(dst, base)
	for k, id := range r.IDs {
		if id >= lo && id < hi {
			copy(dst[(id-lo)*r.Cols:(id-lo+1)*r.Cols], r.Data[k*r.Cols:])
		}
	}
}

// Check implements Checker.
func (r *Rows) Check() error {
	for _, id := range r.IDs {
		if id < 0 || id >= r.Rows {
			return fmt.Errorf("row %d of %d", id, r.Rows)
		}
	}
	return (&Whole{Rows: len(r.IDs), Cols: r.Cols, Data: r.Data}).Check()
}
