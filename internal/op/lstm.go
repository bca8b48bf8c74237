package op

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// LSTM is one direction of a layer of long short-term memory [hochreiter1997], as torch.nn.LSTM has it. Gates are in the order input,
// forget, cell, output.
type LSTM struct {
	In, Hidden         *nn.Param // [4h, in] and [4h, h]
	InBias, HiddenBias *nn.Param // [4h]
}

// params lists the parameters.
func (l LSTM) params() []mat.Tensor { return []mat.Tensor{l.In, l.Hidden, l.InBias, l.HiddenBias} }

// BiLSTM reads the rows of x as one sequence forwards and backwards, and puts the states of the two side by side.
//
//	x [T, in]   y [T, 2h]
//	z = W_in·x[t] + b_in + W_hidden·h[t−1] + b_hidden
//	c[t] = σ(z_f)∘c[t−1] + σ(z_i)∘tanh(z_c)   h[t] = σ(z_o)∘tanh(c[t])
func BiLSTM(p *Pass, x mat.Tensor, forward, backward LSTM) mat.Tensor {
	_, in := shape(x)
	for _, l := range []LSTM{forward, backward} {
		rows, cols := shape(l.In)
		if _, h := shape(l.Hidden); cols != in || rows != 4*h {
			panic(fmt.Sprintf("op: BiLSTM: x has %d columns, weights [%d, %d] and h %d", in, rows, cols, h))
		}
	}
	return node(&biLSTM{p: p, x: x, ways: []*lstm{{LSTM: forward}, {LSTM: backward, reverse: true}}})
}

type biLSTM struct {
	p    *Pass
	x    mat.Tensor
	ways []*lstm
	y    *Tensor
}

// lstm is one direction with what its backward pass needs.
type lstm struct {
	LSTM
	reverse bool
	gates   kernel.Mat // [T, 4h] after their functions
	cells   kernel.Mat // [T, h]
}

func (f *biLSTM) Operands() []mat.Tensor {
	list := []mat.Tensor{f.x}
	for _, w := range f.ways {
		list = append(list, w.params()...)
	}
	return list
}

func (f *biLSTM) Forward() (mat.Tensor, error) {
	x := Of(f.x).View()
	_, h := shape(f.ways[0].Hidden)
	f.y = f.p.Arena.NewTensor(x.Rows, 2*h)
	for i, w := range f.ways {
		w.forward(f.p, x, f.y.View().ColRange(i*h, (i+1)*h))
	}
	return f.y, nil
}

// at is the row of step i, and the row before it in the direction of reading, −1 for none.
func (l *lstm) at(i, n int) (t, before int) {
	if l.reverse {
		if i == 0 {
			return n - 1, -1
		}
		return n - 1 - i, n - i
	}
	return i, i - 1
}

func (l *lstm) forward(p *Pass, x, y kernel.Mat) {
	n, h := x.Rows, y.Cols
	l.gates = kernel.NewMat(p.Arena.Get(n*4*h), n, 4*h)
	l.cells = kernel.NewMat(p.Arena.Get(n*h), n, h)
	kernel.MatMul(l.gates, x, Of(l.In).View(), kernel.MatMulOpts{TransB: true})
	hidden := Of(l.Hidden).View()
	for i := range n {
		t, before := l.at(i, n)
		z, c := l.gates.Row(t), l.cells.Row(t)
		kernel.Add(z, Data(l.InBias))
		kernel.Add(z, Data(l.HiddenBias))
		for j := range z {
			if before >= 0 {
				z[j] += kernel.Dot(hidden.Row(j), y.Row(before))
			}
			if j/h == 2 {
				z[j] = tanh32(z[j])
			} else {
				z[j] = sigmoid(z[j])
			}
		}
		for j := range h {
			c[j] = z[j] * z[2*h+j]
			if before >= 0 {
				c[j] += z[h+j] * l.cells.Row(before)[j]
			}
			y.Row(t)[j] = z[3*h+j] * tanh32(c[j])
		}
	}
}

func tanh32(x float32) float32 { return float32(math.Tanh(float64(x))) }

// Backward walks each direction from its end to its start.
func (f *biLSTM) Backward(gy mat.Tensor) error {
	dy, x := Of(gy), Of(f.x).View()
	dx := f.p.inputGrad(f.x)
	_, h := shape(f.ways[0].Hidden)
	for i, w := range f.ways {
		w.backward(f.p, x, f.y.View().ColRange(i*h, (i+1)*h), dy.View().ColRange(i*h, (i+1)*h), viewOf(dx))
	}
	dy.release()
	f.y.release()
	if dx != nil {
		f.x.AccGrad(dx)
	}
	return nil
}

// backward, with dc the gradient of a cell through time and dz those of the gates before their functions:
//
//	do = dh∘tanh(c)   dc += dh∘o∘(1−tanh²(c))   di = dc∘g   dg = dc∘i   df = dc∘c[t−1]   dc[t−1] = dc∘f
//	dh[t−1] += dz·W_hidden   dW_hidden += dzᵀ·h[t−1]   dW_in += dzᵀ·x   dx += dz·W_in
func (l *lstm) backward(p *Pass, x, y, dy, dx kernel.Mat) {
	n, h := x.Rows, y.Cols
	dz := kernel.NewMat(p.Arena.Get(n*4*h), n, 4*h)
	dh, dc := make([]float32, h), make([]float32, h)
	hidden, dHidden := Of(l.Hidden).View(), kernel.NewMat(GradOf(l.Hidden), 4*h, h)
	for i := n - 1; i >= 0; i-- {
		t, before := l.at(i, n)
		kernel.Add(dh, dy.Row(t))
		l.backStep(dz.Row(t), dh, dc, t, before)
		clear(dh)
		for j, d := range dz.Row(t) {
			GradOf(l.InBias)[j] += d
			GradOf(l.HiddenBias)[j] += d
			if before >= 0 {
				kernel.Axpy(dh, d, hidden.Row(j))
				kernel.Axpy(dHidden.Row(j), d, y.Row(before))
			}
		}
	}
	kernel.MatMul(kernel.NewMat(GradOf(l.In), 4*h, x.Cols), dz, x, kernel.MatMulOpts{TransA: true, Add: true})
	if dx.Rows > 0 {
		kernel.MatMul(dx, dz, Of(l.In).View(), kernel.MatMulOpts{Add: true})
	}
	for _, m := range []kernel.Mat{dz, l.gates, l.cells} {
		p.Arena.Put(m.Data)
	}
}

// backStep turns dh of row t into dz, and dc of row t into that of the row before.
func (l *lstm) backStep(dz, dh, dc []float32, t, before int) {
	h := len(dh)
	z, c := l.gates.Row(t), l.cells.Row(t)
	for j := range h {
		in, forget, cell, out := z[j], z[h+j], z[2*h+j], z[3*h+j]
		tc := tanh32(c[j])
		dc[j] += dh[j] * out * (1 - tc*tc)
		was := float32(0)
		if before >= 0 {
			was = l.cells.Row(before)[j]
		}
		dz[j] = dc[j] * cell * in * (1 - in)
		dz[h+j] = dc[j] * was * forget * (1 - forget)
		dz[2*h+j] = dc[j] * in * (1 - cell*cell)
		dz[3*h+j] = dh[j] * tc * out * (1 - out)
		dc[j] *= forget
	}
}
