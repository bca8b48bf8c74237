package op

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// AttentionSpec says how rows attend to each other.
type AttentionSpec struct {
	Heads
	Causal  bool    // a row sees no later rows
	Scale   float64 // of the scores, usually 1/√D
	Window  int     // a row sees the last Window rows, itself included, and as many later ones if not Causal; 0 = all
	SoftCap float64 // scores become cap·tanh(score/cap); 0 = as they are
	Bias    ScoreBias
	Layer   int // of the cache, and of what else holds keys and values of several layers
	Prefix  int // the layer of Pass.Prefixes whose keys and values these are
	// Distances [R, H] adds row Row(j − i) of it, a number for each head, to the score of query i with key j; nil adds nothing.
	Distances mat.Tensor
	Row       func(distance int) int
	// Cross makes the keys and values those of the pass's Memory: then the rows hold queries only, [T, H·D], and see all of their
	// source.
	Cross bool
	Bare  bool // no prefix of the pass is seen here
	// Stacked, if not 0, says that the pass's one prefix is of this layer alone and holds so many rows for each segment, one
	// segment's below the other's: [segments·Stacked, 2·K·D].
	Stacked int
}

// ScoreBias adds to the scores what depends on positions, such as ALiBi; nil adds nothing. Safe for concurrent use.
type ScoreBias interface {
	// AddTo adds to the scores of one query with the keys from key on. Both are counted from their sequence's start.
	AddTo(scores []float32, head, query, key int)
}

// queryBlock rows of queries and keyBlock keys share one block of scores; [queryBlock, keyBlock] is all that is ever held of the
// score matrix, by each worker: it stays in the second cache. More queries make better use of what is read of keys and values, fewer
// compute less that nobody sees: in segments below twice as many rows half as many share one.
const (
	queryBlock = 64
	keyBlock   = 512
)

// Attention is softmax attention within each segment [vaswani2017]; query head h reads key head h·K/H.
//
//	qkv [T, (H+2K)·D]   y [T, H·D]
//	P = softmax(cap(scale·Q·Kᵀ) + bias, masked)   y = P·V
//
// With a cache, the rows are appended to their sequences first and attend to all of them; there is no backward then. The n rows
// of a prefix of the pass count as the first of a segment, for masks, windows and biases, too; prefixes may differ in length.
func Attention(p *Pass, qkv mat.Tensor, s AttentionSpec) mat.Tensor {
	rows, cols := shape(qkv)
	want := s.Columns()
	if s.Cross {
		want = s.Query * s.Dim
	}
	if cols != want || s.Query%s.KeyValue != 0 || s.Cross && (s.Causal || s.Grouped || s.Window > 0) {
		panic(fmt.Sprintf("op: Attention: qkv [%d, %d], %+v", rows, cols, s))
	}
	return node(&attention{p: p, x: qkv, s: s})
}

type attention struct {
	p   *Pass
	x   mat.Tensor
	s   AttentionSpec
	y   *Tensor
	lse []float32 // [T, H] log Σ exp of the scores
	far *far      // of s.Distances; nil without
}

func (f *attention) Operands() []mat.Tensor {
	list := []mat.Tensor{f.x}
	switch {
	case !f.s.Cross:
		list = append(list, f.prefixes()...)
	case f.p.Memory != nil:
		list = append(list, f.p.Memory)
	}
	if f.s.Distances != nil {
		list = append(list, f.s.Distances)
	}
	return list
}

// reach is what the queries of one segment can see: n keys and values, of which the first past rows came before. Key head
// j begins at column j·step.
type reach struct {
	seg            Segment
	index          int // of the segment
	keys, values   kernel.Mat
	dKeys, dValues kernel.Mat // their gradients, in Backward
	step           int
	past           int
	n              int          // of the keys
	paged          *paged       // in which the keys and values are; nil = in the matrices
	prefix         mat.Tensor   // whose copies the first past rows are; nil = none, without a cache
	copied         bool         // keys and values are copies, in memory of their own
	packed         []packedHead // by key head; nil = products read keys and values where they are
	aligned        bool         // parts of the keys begin and end where parts of what is packed may
}

func (f *attention) reaches(x kernel.Mat) []reach {
	out := make([]reach, len(f.p.Segments))
	for i, seg := range f.p.Segments {
		if f.s.Cross {
			out[i] = f.across(i, seg)
			continue
		}
		k, v := f.own(x, seg)
		prefix := f.prefix(i)
		switch {
		case f.p.Cache != nil:
			out[i] = f.cached(i, prefix, k, v)
		case seg.After > 0:
			out[i] = f.behind(i, x, k, v)
		case prefix != nil:
			out[i] = f.joined(i, prefix, k, v)
		default:
			out[i] = reach{seg: seg, keys: k, values: v, step: f.s.step()}
		}
		out[i].index = i
		if out[i].paged == nil {
			out[i].n = out[i].keys.Rows
		}
	}
	return out
}

// own are the columns of a segment's keys and of its values.
func (f *attention) own(x kernel.Mat, seg Segment) (k, v kernel.Mat) {
	h := f.s
	wide := (h.KeyValue-1)*h.step() + h.Dim
	rows := x.RowRange(seg.Start, seg.End-seg.Pads)
	return rows.ColRange(h.keyAt(0), h.keyAt(0)+wide), rows.ColRange(h.valueAt(0), h.valueAt(0)+wide)
}

// cached appends the keys and values of a segment to those of its sequence, which begins with its prefix.
func (f *attention) cached(i int, prefix mat.Tensor, k, v kernel.Mat) reach {
	seg, h := f.p.Segments[i], f.s.Heads
	if h.Grouped {
		k, v = f.compact(k), f.compact(v)
		defer f.p.Arena.Put(k.Data)
		defer f.p.Arena.Put(v.Data)
	}
	if prefix != nil && f.p.Cache.empty(f.s.Layer, seg.Sequence) {
		pk, pv := f.prefixed(i, Of(prefix).View())
		f.p.Cache.prepend(f.s.Layer, seg.Sequence, pk, pv)
	}
	all := f.p.Cache.extend(f.s.Layer, seg.Sequence, k, v)
	n := all.count(f.s.Layer)
	r := reach{seg: seg, step: h.Dim, past: n - k.Rows, n: n}
	var together bool
	if r.keys, r.values, together = all.whole(f.s.Layer); !together {
		r.paged = all.(*paged)
	}
	return r
}

// compact copies heads that are apart to where they lie side by side, [n, K·D].
func (f *attention) compact(x kernel.Mat) kernel.Mat {
	y := kernel.NewMat(f.p.Arena.Get(x.Rows*f.s.KeyValue*f.s.Dim), x.Rows, f.s.KeyValue*f.s.Dim)
	f.s.compact(y, x)
	return y
}

// block is a run of queries of one segment with the keys that at least one of them sees, or with some of these.
type block struct {
	reach
	q0, q1 int // queries, counted within the segment
	k0, k1 int // keys
}

func (f *attention) blocks(reaches []reach) (list []block) {
	for _, r := range reaches {
		n, size := r.seg.End-r.seg.Start, queryBlock
		if n < 2*queryBlock {
			size /= 2
		}
		for q := 0; q < n; q += size {
			b := block{reach: r, q0: q, q1: min(q+size, n)}
			b.k0, _ = f.s.seen(r.past+b.q0, r.n)
			_, b.k1 = f.s.seen(r.past+b.q1-1, r.n)
			list = append(list, b)
		}
	}
	return list
}

// among is the block with those of its keys that are among from … to.
func (b *block) among(from, to int) block {
	x := *b
	x.k0, x.k1 = max(b.k0, from), min(b.k1, to)
	if x.k0 >= x.k1 {
		x.k1 = x.k0
	} else if b.aligned {
		x.k0, x.k1 = kernel.RightStart(x.k0), min(kernel.RightWidth(x.k1), b.n)
	}
	return x
}

// parts are the blocks of keyBlock keys that a block consists of.
func (b *block) parts(f func(part block)) {
	for k := b.k0 / keyBlock * keyBlock; k < b.k1; k += keyBlock {
		f(b.among(k, k+keyBlock))
	}
}

// room is the shape of the block's scores: [queries, keys], and how many columns products with packed keys write.
func (b *block) room() (nq, nk, wide int) {
	nq, nk = b.q1-b.q0, b.k1-b.k0
	if !b.aligned {
		return nq, nk, nk
	}
	return nq, nk, kernel.RightWidth(nk)
}

// seen is the range of the n keys of a sequence that its row number at sees. Rows beyond the keys are pads.
func (s *AttentionSpec) seen(at, n int) (lo, hi int) {
	hi = n
	if s.Causal {
		hi = min(hi, at+1)
	}
	if s.Window > 0 {
		lo, hi = max(0, at+1-s.Window), min(hi, at+s.Window)
	}
	return min(lo, hi), hi
}

// seen is the range of the block's keys that its query i sees, counted from the first of them.
func (b *block) seen(i int, s *AttentionSpec) (lo, hi int) {
	lo, hi = s.seen(b.past+b.q0+i, b.n)
	lo, hi = max(lo, b.k0)-b.k0, min(hi, b.k1)-b.k0
	return min(lo, max(hi, 0)), max(hi, 0)
}

// finish turns the products of query i of the block with the keys from lo on into scores. It writes their derivative by the
// products to slope, if that is wanted and not 1 everywhere.
func (f *attention) finish(scores, slope []float32, b *block, i, lo, head int) {
	if f.s.SoftCap > 0 {
		softCap(scores, slope, float32(f.s.SoftCap))
	}
	if f.s.Bias != nil {
		f.s.Bias.AddTo(scores, head, b.past+b.q0+i, b.k0+lo)
	}
	if f.far != nil {
		kernel.Add(scores, f.far.biases(head, b.past+b.q0+i, b.k0+lo, len(scores)))
	}
}

func (f *attention) Forward() (mat.Tensor, error) {
	if f.p.attended.take(f) {
		return f.y, nil
	}
	x := Of(f.x)
	h := f.s
	f.y = f.p.Arena.NewTensor(x.rows, h.Query*h.Dim)
	f.lse = f.p.Arena.Get(x.rows * h.Query)
	xv, yv := x.View(), f.y.View()
	reaches := f.reaches(xv)
	f.pack(reaches)
	list := f.blocks(reaches)
	f.look(reaches, false)
	defer f.unlook()
	singles, parts := f.singles(list), f.headParts()
	kernel.Parallel(singles*parts+(len(list)-singles)*h.Query, func(i int) {
		if i < singles*parts {
			f.single(&list[i/parts], i%parts, xv, yv)
			return
		}
		i -= singles * parts
		f.attend(&list[singles+i/h.Query], i%h.Query, xv, yv)
	})
	for i := range reaches {
		f.part(&reaches[i])
	}
	f.p.attended.leave(f)
	return f.y, nil
}

// attend computes a head of the block's queries. Each part of their keys corrects the maxima and sums of those before [dao2022].
func (f *attention) attend(b *block, head int, x, y kernel.Mat) {
	h := f.s
	t0, nq := b.seg.Start+b.q0, b.q1-b.q0
	q := x.RowRange(t0, t0+nq).ColRange(h.queryAt(head), h.queryAt(head)+h.Dim)
	out := y.RowRange(t0, t0+nq).ColRange(head*h.Dim, (head+1)*h.Dim)
	buf := f.p.Arena.Get(nq * kernel.RightWidth(min(keyBlock, b.k1)))
	defer f.p.Arena.Put(buf)
	var top [queryBlock]float32
	var sum [queryBlock]float64
	for r := range nq {
		top[r] = float32(math.Inf(-1))
	}
	if b.k0 == b.k1 { // nobody is seen
		for r := range nq {
			clear(out.Row(r))
		}
	}
	b.parts(func(part block) {
		_, nk, wide := part.room()
		s := kernel.NewMat(buf, nq, wide)
		f.products(s, q, &part, head/h.group())
		for r := range nq {
			lo, hi := part.seen(r, &f.s)
			row := s.Row(r)
			clear(row[:lo])
			clear(row[hi:])
			if lo == hi {
				continue
			}
			f.finish(row[lo:hi], nil, &part, r, lo, head)
			if m := max(top[r], kernel.Max(row[lo:hi])); m != top[r] {
				less := math.Exp(float64(top[r] - m))
				if sum[r] *= less; part.k0 > b.k0 {
					kernel.Scale(out.Row(r), float32(less))
				}
				top[r] = m
			}
			sum[r] += kernel.ExpShiftSum(row[lo:hi], top[r])
		}
		f.weigh(out, s.ColRange(0, nk), &part, head/h.group(), part.k0 > b.k0)
	})
	for r := range nq {
		if sum[r] != 0 { // else nobody is seen
			kernel.Scale(out.Row(r), float32(1/sum[r]))
		}
		f.lse[(t0+r)*h.Query+head] = top[r] + float32(math.Log(sum[r]))
	}
}

// products is s = scale·q·Kᵀ for the block's keys of a key head.
func (f *attention) products(s, q kernel.Mat, b *block, kvHead int) {
	o := kernel.MatMulOpts{TransB: true, Alpha: float32(f.s.Scale), Serial: true}
	kv := kvHead * b.step
	switch {
	case b.packed != nil:
		b.packed[kvHead].keys.MulRight(s, q, 0, b.k0, o)
	case b.paged == nil:
		kernel.MatMul(s, q, b.keys.RowRange(b.k0, b.k1).ColRange(kv, kv+f.s.Dim), o)
	default:
		b.paged.each(f.s.Layer, 0, b.k0, b.k1, func(keys kernel.Mat, from, to int) {
			kernel.MatMul(s.ColRange(from, to), q, keys.ColRange(kv, kv+f.s.Dim), o)
		})
	}
}

// weigh is out (+)= s·V for the block's values of a key head.
func (f *attention) weigh(out, s kernel.Mat, b *block, kvHead int, add bool) {
	o := kernel.MatMulOpts{Add: add, Serial: true}
	kv := kvHead * b.step
	switch {
	case b.packed != nil:
		b.packed[kvHead].values.MulRight(out, s, b.k0, 0, o)
	case b.paged == nil:
		kernel.MatMul(out, s, b.values.RowRange(b.k0, b.k1).ColRange(kv, kv+f.s.Dim), o)
	default:
		b.paged.each(f.s.Layer, 1, b.k0, b.k1, func(values kernel.Mat, from, to int) {
			kernel.MatMul(out, s.ColRange(from, to), values.ColRange(kv, kv+f.s.Dim), o)
			o.Add = true
		})
	}
}
