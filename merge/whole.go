package merge

import "fmt"

// Whole replaces a tensor by what the adapter trained of it in full: modules_to_save, biases, norms.
type Whole struct {
	Tensor     string
	Rows, Cols int       // a vector of n is [n, 1]
	Data       []float32 // [Rows, Cols]
	BothEnds   bool      // see AtBothEnds
	Vector     bool      // the tensor is of one dimension
}

// Target implements Delta.
func (w *Whole) Target() string { return w.Tensor }

// Dims implements Delta.
func (w *Whole) Dims() (rows, cols int) { return w.Rows, w.Cols }

// AtBothEnds says that the new weight is that of embedding and head, if these are tied.
func (w *Whole) AtBothEnds() bool { return w.BothEnds }

// SetTo implements Setter.
func (w *Whole) SetTo(lo, hi int, dst []float32) { copy(dst, w.Data[lo*w.Cols:hi*w.Cols]) }

// Check implements Checker.
func (w *Whole) Check() error {
	if len(w.Data) != w.Rows*w.Cols {
		return fmt.Errorf("%d numbers for [%d, %d]", len(w.Data), w.Rows, w.Cols)
	}
	for i, x := range w.Data {
		if x-x != 0 {
			return fmt.Errorf("[%d, %d] is %g, want finite numbers", i/w.Cols, i%w.Cols, x)
		}
	}
	return nil
}
