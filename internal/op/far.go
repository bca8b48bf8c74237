package op

import "github.com/graft-ml/graft/internal/kernel"

// far holds what distances add to scores, for the distances that occur: from −longest+1 to longest−1.
type far struct {
	longest int
	rows    []int32    // of the table by distance
	bias    kernel.Mat // [H, 2·longest−1]
	grad    kernel.Mat // [segments·H, R], by segment so that its sum has one order
	heads   int
}

// look fills f.far for the reaches of a pass, with room for gradients if they are wanted.
func (f *attention) look(reaches []reach, grad bool) {
	if f.s.Distances == nil {
		return
	}
	table := Of(f.s.Distances).View()
	x := &far{heads: f.s.Query}
	for _, r := range reaches {
		x.longest = max(x.longest, r.n)
	}
	n := 2*x.longest - 1
	x.rows = make([]int32, n)
	x.bias = kernel.NewMat(f.p.Arena.Get(x.heads*n), x.heads, n)
	for i := range n {
		x.rows[i] = int32(f.s.Row(i - x.longest + 1))
		for h, v := range table.Row(int(x.rows[i])) {
			x.bias.Row(h)[i] = v
		}
	}
	if grad && f.s.Distances.RequiresGrad() {
		x.grad = kernel.NewMat(f.p.Arena.Zeroed(len(reaches)*x.heads*table.Rows), len(reaches)*x.heads, table.Rows)
	}
	f.far = x
}

// unlook gives the buffers back.
func (f *attention) unlook() {
	if f.far != nil {
		f.p.Arena.Put(f.far.bias.Data)
		f.p.Arena.Put(f.far.grad.Data)
		f.far = nil
	}
}

// at is the place of the distance from query to key.
func (x *far) at(query, key int) int { return key - query + x.longest - 1 }

// biases are those of a query with n keys from key on.
func (x *far) biases(head, query, key, n int) []float32 {
	at := x.at(query, key)
	return x.bias.Row(head)[at : at+n]
}

// gain adds the gradient of a query's scores with the keys from key on.
func (x *far) gain(segment, head, query, key int, d []float32) {
	if x.grad.Rows == 0 {
		return
	}
	row, at := x.grad.Row(segment*x.heads+head), x.at(query, key)
	for i, v := range d {
		row[x.rows[at+i]] += v
	}
}

// spreadDistances hands the gradient of the table on: the sum over the segments, in their order.
func (f *attention) spreadDistances(segments int) {
	if f.far == nil || f.far.grad.Rows == 0 {
		return
	}
	t := Of(f.s.Distances)
	d := f.p.Arena.NewTensor(t.rows, t.cols)
	clear(d.data)
	for i := range segments * f.s.Query {
		for r, v := range f.far.grad.Row(i) {
			d.View().Row(r)[i%f.s.Query] += v
		}
	}
	f.s.Distances.AccGrad(d)
}
