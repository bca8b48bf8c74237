package merge

import (
	"github.com/graft-ml/graft/internal/kernel"
)

// SCE keeps the elements in which the sources differ most, weighs the sources by the squares of what is left of them, and
// erases what has not the sign of the sum [wan2024]:
//
//	y = base + Σ η_i·δ_i / Σ η_i     over those of the elected sign, η_i ∝ mean(δ_i²)
//
// References: [wan2024] FuseChat, arXiv 2408.07990.
func openSCE(m *mixture) (mixer, int, error) {
	c := &sce{mixture: m, window: newWindow(0, m.len(), m.len())}
	if k := m.all["select_topk"]; k < 1 {
		if err := c.choose(k); err != nil {
			return nil, 0, err
		}
	}
	return c.mix, blockElements, c.weigh()
}

type sce struct {
	*mixture
	window  window
	none    bool // nothing is kept
	weights []float64
}

// spread is the variance of each element over the sources, in s.out.
func (c *sce) spread(s *sheet, _ int) []float32 {
	n := float32(len(s.x))
	for j := range s.out {
		mean, v := float32(0), float32(0)
		for _, x := range s.x {
			mean += x[j]
		}
		mean /= n
		for _, x := range s.x {
			v += (x[j] - mean) * (x[j] - mean)
		}
		s.out[j] = v / n
	}
	return s.out
}

// choose keeps the share k of the elements whose variance is not zero: those of the largest.
func (c *sce) choose(k float64) error {
	counts := make([]int, c.blocks(blockElements))
	err := c.sweep(blockElements, func(b int, s *sheet, lo, hi int) error {
		for _, v := range c.spread(s, 0) {
			if v != 0 {
				counts[b]++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	some := 0
	for _, n := range counts {
		some += n
	}
	keep := int(k * float64(some))
	if keep == 0 {
		c.none = true
		return nil
	}
	list := []window{newWindow(c.len()-keep, c.len(), c.len())}
	err = c.locate(list, c.spread)
	c.window = list[0]
	return err
}

// thin takes away what is not kept.
func (c *sce) thin(s *sheet, lo int) {
	if c.none {
		for _, x := range s.x {
			clear(x)
		}
		return
	}
	if c.window.low.open {
		return
	}
	sizes := c.spread(s, 0)
	for _, x := range s.x {
		c.window.drop(x, sizes, lo)
	}
}

// weigh finds η.
func (c *sce) weigh() error {
	parts := make([][]float64, c.blocks(blockElements))
	err := c.sweep(blockElements, func(b int, s *sheet, lo, hi int) error {
		c.thin(s, lo)
		for _, x := range s.x {
			parts[b] = append(parts[b], dot(x, x))
		}
		return nil
	})
	c.weights = make([]float64, c.sources())
	sum := 0.0
	for _, p := range parts {
		for i, v := range p {
			c.weights[i] += v / float64(c.len())
			sum += v / float64(c.len())
		}
	}
	for i := range c.weights {
		if c.weights[i] /= sum; sum < 1e-6 {
			c.weights[i] = 1 / float64(len(c.weights))
		}
	}
	return err
}

// mix implements mixer.
func (c *sce) mix(s *sheet, lo, hi int) error {
	c.thin(s, lo)
	s.start()
	vote := s.out // each is read before its result takes its place
	for _, x := range s.x {
		kernel.Add(vote, x)
	}
	for j := range s.out {
		sum, divisor := 0.0, 0.0
		for i, x := range s.x {
			if v := x[j]; v > 0 && vote[j] >= 0 || v < 0 && vote[j] < 0 {
				sum += c.weights[i] * float64(v)
				divisor += c.weights[i]
			}
		}
		s.out[j] = float32(sum / max(divisor, 1e-6))
	}
	s.finish()
	return nil
}
