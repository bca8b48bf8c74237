package cli

import (
	"os"
	"path/filepath"

	"github.com/graft-ml/graft/train"
	"github.com/guptarohit/asciigraph"
)

// curvesOf reads the losses of a run.
func curvesOf(dir string) (train.Curves, bool) {
	f, err := os.Open(filepath.Join(dir, "metrics.jsonl"))
	if err != nil {
		return train.Curves{}, false
	}
	defer f.Close()
	c, err := train.ReadCurves(f)
	return c, err == nil
}

// terminalCurve draws the training loss in characters; "" if there is too little to draw, or no room for it.
func terminalCurve(dir string, width int) string {
	c, ok := curvesOf(dir)
	const labels, least = 12, 12 // columns of the axis, and of a curve that tells something
	if !ok || len(c.Losses) < 4 || width < labels+least {
		return ""
	}
	return asciigraph.Plot(c.Losses, asciigraph.Height(8), asciigraph.Width(min(width-labels, 70)), asciigraph.Caption("training loss"))
}

// evalEnds are the first and the last held-out loss of a run.
func evalEnds(dir string) (first, last float64, ok bool) {
	c, ok := curvesOf(dir)
	if !ok || len(c.EvalLosses) == 0 {
		return 0, 0, false
	}
	return c.EvalLosses[0], c.EvalLosses[len(c.EvalLosses)-1], true
}
