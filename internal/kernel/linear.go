package kernel

import "fmt"

// Linear is a product with a frozen weight, with an addition of low rank or without:
//
//	y = x·Wᵀ + bias + scale·x·Aᵀ·Bᵀ
//
//	x [T, K]   W [N, K]   bias [N] or nil   A [r, K]   B [N, r]   y [T, N]
type Linear struct {
	W          *Frozen
	Transposed bool // W is stored [K, N]
	Bias       []float32
	A, B       Mat // of no rows: there is no addition
	S          Mat // x·Aᵀ [T, r], where that is known: then A is not read
	Scale      float32
}

// needs says that x·Aᵀ is to be computed.
func (l *Linear) needs() bool { return l.A.Rows > 0 && l.S.Rows == 0 }

// Linears writes y = x·Wᵀ + … for several weights that read the same activations, ys one for each. Few rows pass through all of them in one
// go.
func (a *Acts) Linears(ys []Mat, list []Linear) {
	known := false
	for i := range list {
		a.check(ys[i], &list[i])
		known = known || list[i].S.Rows > 0
	}
	if len(ys) == 0 || ys[0].Rows == 0 || !known && a.few(ys, list) {
		return
	}
	s, free := a.down(list)
	defer free()
	at := 0
	for i := range list {
		l := &list[i]
		add := low{s: l.S, b: l.B, scale: l.Scale}
		if l.needs() {
			add.s = s.ColRange(at, at+l.A.Rows)
			at += l.A.Rows
		}
		if l.Transposed {
			a.backward(ys[i], l.W, l.Bias, false, add)
		} else {
			a.forward(ys[i], l.W, l.Bias, false, add)
		}
	}
}

// Back adds to dx the gradient of a linear's x. The activations are the gradient of its y, and S is ds, that of x·Aᵀ; of no rows, there is no addition.
//
//	dx += dy·W + ds·A
//
//	dy [T, N]   A [r, K]   ds [T, r] = scale·dy·B   dx [T, K]
func (a *Acts) Back(dx Mat, l *Linear) {
	if l.S.Rows > 0 && (l.S.Rows != dx.Rows || l.S.Cols != l.A.Rows || l.A.Cols != dx.Cols) {
		panic(fmt.Sprintf("kernel: Back: dx [%d, %d], ds [%d, %d], A [%d, %d]", dx.Rows, dx.Cols, l.S.Rows, l.S.Cols, l.A.Rows, l.A.Cols))
	}
	add := low{s: l.S, b: l.A, across: true, scale: 1}
	if l.Transposed {
		a.forward(dx, l.W, nil, true, add)
	} else {
		a.backward(dx, l.W, nil, true, add)
	}
}

func (a *Acts) check(y Mat, l *Linear) {
	ok := y.Rows == a.x.Rows
	switch {
	case l.S.Rows > 0:
		ok = ok && l.S.Rows == y.Rows && l.B.Rows == y.Cols && l.B.Cols == l.S.Cols && l.Scale != 0
	case l.A.Rows > 0:
		ok = ok && l.A.Cols == a.x.Cols && l.B.Rows == y.Cols && l.B.Cols == l.A.Rows && l.Scale != 0
	}
	if !ok {
		panic(fmt.Sprintf("kernel: Linears: y [%d, %d], x [%d, %d], A [%d, %d], S [%d, %d], B [%d, %d], scale %g",
			y.Rows, y.Cols, a.x.Rows, a.x.Cols, l.A.Rows, l.A.Cols, l.S.Rows, l.S.Cols, l.B.Rows, l.B.Cols, l.Scale))
	}
}

// down is x·Aᵀ for the A of all linears that need it, side by side [T, Σr]: the activations are read once for all.
func (a *Acts) down(list []Linear) (s Mat, free func()) {
	rank, last := 0, Mat{}
	for i := range list {
		if l := &list[i]; l.needs() {
			rank += l.A.Rows
			last = l.A
		}
	}
	if rank == 0 {
		return Mat{}, func() {}
	}
	buf := floats.get(a.x.Rows * rank)
	s = NewMat(*buf, a.x.Rows, rank)
	if rank == last.Rows {
		a.Down(s, last)
		return s, func() { floats.put(buf) }
	}
	stack := floats.get(rank * a.x.Cols)
	defer floats.put(stack)
	at := 0
	for i := range list {
		if l := &list[i]; l.needs() {
			copied(NewMat((*stack)[at*a.x.Cols:], l.A.Rows, a.x.Cols), l.A, exact)
			at += l.A.Rows
		}
	}
	a.Down(s, NewMat(*stack, rank, a.x.Cols))
	return s, func() { floats.put(buf) }
}

// fewRanks is up to which rank dots in float32 beat products in the mode, whose panels are wider.
const fewRanks = 15

// Down is s = x·Aᵀ, the inner product of an addition of low rank. That of a higher rank is computed in the mode: so it reads the activations as they have
// been made ready.
//
//	x [T, K]   A [r, K]   s [T, r]
func (a *Acts) Down(s, A Mat) {
	if a.mode == ModeF32 || A.Rows <= fewRanks || A.Stride != A.Cols {
		MatMul(s, a.x, A, MatMulOpts{TransB: true})
		return
	}
	a.MulT(s, FrozenF32(A.Data, A.Rows, A.Cols), nil, false)
}

// DownBack is ds = scale·dy·B, the gradient of Down's s.
//
//	dy [T, N]   B [N, r]   ds [T, r]
func (a *Acts) DownBack(ds, B Mat, scale float32) {
	if a.mode == ModeF32 || B.Cols <= fewRanks || B.Stride != B.Cols {
		MatMul(ds, a.x, B, MatMulOpts{Alpha: scale})
		return
	}
	a.Mul(ds, FrozenF32(B.Data, B.Rows, B.Cols), nil, false)
	for i := range ds.Rows {
		Scale(ds.Row(i), scale)
	}
}

// low is an addition of low rank to a product: scale·s·Bᵀ. Without rows of s it adds nothing.
type low struct {
	s, b   Mat
	across bool // b is Bᵀ, stored [r, N]
	scale  float32
}

// addTo adds it by itself.
func (l *low) addTo(y Mat) {
	if l.s.Rows > 0 {
		MatMul(y, l.s, l.b, MatMulOpts{TransB: !l.across, Alpha: l.scale, Add: true})
	}
}
