package kernel

// Round keeps a copy of w beside it, rounded to bf16 as ModeBF16 rounds it, which products in that mode then read instead: for weights
// stored in float32 or float16 that take part in many products. It takes 2 bytes a number; whatever else reads w reads what is stored.
// Nothing may compute with w meanwhile. It returns the bytes that such products do not read any more.
func (w *Frozen) Round() (spared int64) {
	if w.DType != F32 && w.DType != F16 || w.rounded != nil {
		return 0
	}
	half := make([]uint16, w.Rows*w.Cols)
	Split(w.Rows, max(1, 1<<16/max(1, w.Cols)), func(lo, hi int) {
		buf := floats.get(w.Cols)
		defer floats.put(buf)
		for i := lo; i < hi; i++ {
			w.Row(*buf, i)
			F32ToBF16(half[i*w.Cols:][:w.Cols], *buf)
		}
	})
	w.rounded = FrozenU16(half, BF16, w.Rows, w.Cols)
	return w.Bytes()
}

// in is what products in the mode read of w.
func (w *Frozen) in(m Mode) *Frozen {
	if m == ModeBF16 && w.rounded != nil {
		return w.rounded
	}
	return w
}
