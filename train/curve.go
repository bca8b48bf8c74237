package train

import (
	"fmt"
	"image/color"
	"io"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// The colours tell the curves apart for most colour-blind readers, too.
var (
	paleBlue = color.RGBA{170, 200, 230, 255}
	blue     = color.RGBA{0, 90, 170, 255}
	orange   = color.RGBA{220, 110, 0, 255}
)

// smoothing is the weight of the past in the running mean that is drawn over a noisy loss.
const smoothing = 0.9

// WriteSVG draws the curves: the loss of each logged interval, its running mean, and the losses of evaluations.
func (c Curves) WriteSVG(w io.Writer) error {
	p := plot.New()
	p.Title.Text = "loss per target"
	p.X.Label.Text = "step"
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	if err := c.lines(p); err != nil {
		return fmt.Errorf("train: loss.svg: %w", err)
	}
	canvas, err := p.WriterTo(font.Length(7*vg.Inch), 4*vg.Inch, "svg")
	if err != nil {
		return fmt.Errorf("train: loss.svg: %w", err)
	}
	_, err = canvas.WriteTo(w)
	return err
}

func (c Curves) lines(p *plot.Plot) error {
	if len(c.Steps) > 0 {
		raw, err := plotter.NewLine(points(c.Steps, c.Losses))
		if err != nil {
			return err
		}
		raw.Color = paleBlue
		mean, err := plotter.NewLine(points(c.Steps, runningMean(c.Losses)))
		if err != nil {
			return err
		}
		mean.Color, mean.Width = blue, vg.Points(1.5)
		p.Add(raw, mean)
		p.Legend.Add("loss", raw)
		p.Legend.Add("running mean", mean)
	}
	if len(c.EvalSteps) > 0 {
		line, dots, err := plotter.NewLinePoints(points(c.EvalSteps, c.EvalLosses))
		if err != nil {
			return err
		}
		line.Color, dots.Color, dots.Shape = orange, orange, draw.CircleGlyph{}
		p.Add(line, dots)
		p.Legend.Add("eval loss", line, dots)
	}
	return nil
}

// mostPoints is how many points of a curve are drawn: a drawing is no wider than that.
const mostPoints = 1500

// points pairs x and y, taking every n-th pair (and the last) of a long curve.
func points(x, y []float64) plotter.XYs {
	every := max(1, (len(x)+mostPoints-1)/mostPoints)
	var p plotter.XYs
	for i := range x {
		if i%every == 0 || i == len(x)-1 {
			p = append(p, plotter.XY{X: x[i], Y: y[i]})
		}
	}
	return p
}

// RunningMean is the running mean of the losses [len(Losses)], as loss.svg draws it.
func (c Curves) RunningMean() []float64 { return runningMean(c.Losses) }

// runningMean is the exponential mean with its start corrected, so that it begins at the first value.
func runningMean(v []float64) []float64 {
	mean := make([]float64, len(v))
	sum, weight := 0.0, 0.0
	for i, x := range v {
		sum = smoothing*sum + (1-smoothing)*x
		weight = smoothing*weight + (1 - smoothing)
		mean[i] = sum / weight
	}
	return mean
}
