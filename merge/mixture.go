package merge

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"sync"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/kernel"
)

// mixture is one tensor of an output on its way from those of the sources. Its numbers are read in blocks, by as many sweeps as a
// method needs to learn what it must know of the whole, and once more for the result; nothing holds a whole tensor.
type mixture struct {
	ctx        context.Context
	name       string // in the output
	rows, cols int    // a vector is one row
	inputs     []input
	origin     bool // the last input is the base: the others are read as differences from it
	all        map[string]float64
	own        []map[string]float64 // by input
	seed       uint64
	pool       *sync.Pool // of *sheet
}

// input is the tensor of one source.
type input struct {
	data  []byte
	dtype checkpoint.DType
	model string
}

// mixer computes numbers lo to hi of the result into s.out.
type mixer func(s *sheet, lo, hi int) error

// sheet is the memory that one block needs.
type sheet struct {
	room []float32
	x    [][]float32 // the inputs; differences from the base where there is an origin
	base []float32   // of the origin
	out  []float32
	raw  []byte

	sizes []uint32 // between two bounds
}

// sources is the number of inputs without the base.
func (m *mixture) sources() int {
	if m.origin {
		return len(m.inputs) - 1
	}
	return len(m.inputs)
}

func (m *mixture) len() int { return m.rows * m.cols }

// weights are the parameter of that name of each source.
func (m *mixture) of(name string) []float64 {
	list := make([]float64, m.sources())
	for i := range list {
		list[i] = m.own[i][name]
	}
	return list
}

// stream is the number of the random numbers of one source; it depends on the tensor's name alone.
func (m *mixture) stream(source int) uint64 {
	h := fnv.New64a()
	h.Write([]byte(m.name))
	return h.Sum64() + uint64(source)
}

// byRows is the grain of blocks of whole rows.
func (m *mixture) byRows() int { return max(1, blockElements/max(1, m.cols)) * max(1, m.cols) }

// blocks is the number of blocks of a sweep.
func (m *mixture) blocks(grain int) int { return (m.len() + grain - 1) / grain }

// sweep reads all inputs block by block, several at a time. Blocks are cut the same way whatever the number of threads.
func (m *mixture) sweep(grain int, f func(block int, s *sheet, lo, hi int) error) error {
	return kernel.ParallelErr(m.ctx, m.blocks(grain), func(i int) error {
		s := m.pool.Get().(*sheet)
		defer m.pool.Put(s)
		lo, hi := i*grain, min(m.len(), (i+1)*grain)
		m.read(s, lo, hi)
		return f(i, s, lo, hi)
	})
}

// read decodes numbers lo to hi of every input.
func (m *mixture) read(s *sheet, lo, hi int) {
	n, k := hi-lo, len(m.inputs)
	if cap(s.room) < n*(k+1) {
		s.room = make([]float32, n*(k+1))
	}
	s.x, s.base = s.x[:0], nil
	for i := range k + 1 {
		s.x = append(s.x, s.room[i*n:(i+1)*n:(i+1)*n])
	}
	s.out, s.x = s.x[k], s.x[:k]
	if m.origin {
		s.base, s.x = s.x[k-1], s.x[:k-1]
	}
	const piece = 4 * piece // small enough for the fastest cache, large enough for the calls
	for at := 0; at < n; at += piece {
		m.readPiece(s, lo, at, min(n, at+piece))
	}
}

// readPiece decodes those from at to end of a block that begins at lo.
func (m *mixture) readPiece(s *sheet, lo, at, end int) {
	decode := func(to []float32, in input) {
		size := int(in.dtype.Size())
		checkpoint.Decode(to[at:end], in.data[(lo+at)*size:(lo+end)*size], in.dtype)
	}
	if s.base != nil {
		decode(s.base, m.inputs[len(m.inputs)-1])
	}
	for i, x := range s.x {
		decode(x, m.inputs[i])
		if s.base != nil {
			kernel.Axpy(x[at:end], -1, s.base[at:end])
		}
	}
}

// write computes the result and writes it with one rounding.
func (m *mixture) write(mix mixer, grain int, to checkpoint.Section, out checkpoint.DType, wrote func(n int)) error {
	size := int(out.Size())
	return m.sweep(grain, func(_ int, s *sheet, lo, hi int) error {
		if err := mix(s, lo, hi); err != nil {
			return fmt.Errorf("merge: %q: %w", m.name, err)
		}
		if err := m.holds(s.out, out, lo); err != nil {
			return err
		}
		n := (hi - lo) * size
		if cap(s.raw) < n {
			s.raw = make([]byte, n)
		}
		s.raw = s.raw[:n]
		checkpoint.Encode(s.raw, s.out, out)
		wrote(n)
		_, err := to.WriteAt(s.raw, int64(lo)*int64(size))
		return err
	})
}

// most are the largest numbers that dtypes hold, before those that round to infinity.
var most = map[checkpoint.DType]float32{checkpoint.F32: math.MaxFloat32, checkpoint.F16: 65519.996, checkpoint.BF16: 3.3961775e38}

// holds reports a result that the dtype cannot hold.
func (m *mixture) holds(x []float32, d checkpoint.DType, lo int) error {
	if kernel.MaxSize(x) <= math.Float32bits(most[d]) {
		return nil
	}
	for i, v := range x {
		switch {
		case v-v != 0:
			return fmt.Errorf("merge: %q: the result is %g at %d, want finite numbers", m.name, v, lo+i)
		case v > most[d] || v < -most[d]:
			return fmt.Errorf("merge: %q: the result %g at %d is beyond %s; a wider dtype may hold it", m.name, v, lo+i, d)
		}
	}
	return nil
}
