package lora

import (
	"errors"
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// OSF keeps the largest singular values of the weight with their directions and trains all the others, orthogonally to them
// [nayak2025]:
//
//	W' = U₁·S₁·V₁ + U₂·diag(S₂)·V₂     of effective_rank and of the rest
//
// graft uses such adapters but does not train them: that takes a whole decomposition of every weight.
//
// References: [nayak2025] Sculpting Subspaces: Constrained Full Fine-Tuning in LLMs for Continual Learning, arXiv 2504.07097.
var OSF = (&tuner.Kind{Type: "OSF", Name: "osf", New: func() tuner.Options { return &osf{init: true} },
	Defaults: peft.Object{"effective_rank": nil, "init_weights": nil, "modules_to_save": nil, "rank_pattern": nil, "target_modules": nil,
		"target_svd_config": nil}}).Method()

type osf struct {
	rank total // 0 is null: half of what there is
	init bool
}

func (o *osf) Settings() []peft.Setting {
	return []peft.Setting{{Key: "effective_rank", To: &o.rank, Want: "a whole number"}, {Key: "init_weights", To: &o.init}}
}

func (o *osf) Check() error {
	if o.rank < 0 || o.rank > maxRank {
		return fmt.Errorf("osf: effective_rank is %d, want 1 to %d", o.rank, maxRank)
	}
	return nil
}

// CheckTraining refuses.
func (o *osf) CheckTraining() error {
	return errors.New("osf: training needs a whole decomposition of every weight, which is not built")
}

func (o *osf) Layer(s *tuner.Site) (*tuner.Layer, error) {
	all := min(s.In, s.Out)
	k := int(o.rank)
	if k == 0 {
		k = max(1, all/2)
	}
	k = min(k, all)
	f, err := linalg.Largest(weightOf(s.Slot.Base), k, s.Rand())
	if err != nil {
		return nil, err
	}
	high := kernel.NewMat(make([]float32, k*s.In), k, s.In) // √S₁·V₁
	left := kernel.NewMat(make([]float32, s.Out*k), s.Out, k)
	for r := range k {
		root := math.Sqrt(f.S[r])
		for j := range s.In {
			high.Row(r)[j] = float32(root * f.V.At(j, r))
		}
		for i := range s.Out {
			left.Row(i)[r] = float32(root * f.U.At(i, r))
		}
	}
	at := "osf_svd_params."
	sl, ul, vl := s.Param(at+"S_low", tuner.Zeros, all-k), s.Param(at+"U_low", tuner.Zeros, s.Out, all-k), s.Param(at+"V_low", tuner.Zeros, all-k, s.In)
	return &tuner.Layer{Apply: func(c *tuner.Call, x *tape.Node, _ func(*tape.Node) *tape.Node) *tape.Node {
		kept := c.MatMulT(c.MatMulT(x, c.Const(high)), c.Const(left))
		low := c.MatMulT(c.MulCols(c.MatMulT(x, c.Param(vl)), c.Param(sl)), c.Param(ul))
		return c.Shift(c.Add(kept, 1, low), 1, c.Bias())
	}}, nil
}
