package metric

import (
	"fmt"
	"math"
)

// References
//
//	[guo2017] C. Guo et al., On calibration of modern neural networks
//	[brier1950] G. W. Brier, Verification of forecasts expressed in terms of probability

// Calibration tells whether a model is right as often as it claims to be.
type Calibration struct {
	ECE   float64          // expected calibration error, [guo2017] eq. 3: mean |accuracy − confidence| over items
	MCE   float64          // maximum calibration error, [guo2017] eq. 5: of the worst bin
	Brier float64          // mean (confidence − right)², [brier1950] for the predicted class alone
	Bins  []ReliabilityBin // of equal width, ascending
}

// ReliabilityBin is one bar of a reliability diagram.
type ReliabilityBin struct {
	Above, UpTo float64 // confidences in (Above, UpTo]; the first bin holds 0 too
	Items       int
	Confidence  float64 // mean of the items; 0 without any
	Accuracy    float64 // share of right items; 0 without any
}

// Calibrate compares how sure a model was with how often it was right.
//
//	confidence [N]  probability of the predicted class, in [0, 1]
//	right [N]       whether the prediction was right
//	bins            how many; [guo2017] uses 15
func Calibrate(confidence []float64, right []bool, bins int) (*Calibration, error) {
	if err := sameLength("calibration", len(right), len(confidence)); err != nil {
		return nil, err
	}
	if bins < 1 {
		return nil, fmt.Errorf("metric: calibration: %d bins, want at least 1", bins)
	}
	c := &Calibration{Bins: make([]ReliabilityBin, bins)}
	for i := range c.Bins {
		c.Bins[i] = ReliabilityBin{Above: float64(i) / float64(bins), UpTo: float64(i+1) / float64(bins)}
	}
	for i, p := range confidence {
		if !(p >= 0 && p <= 1) {
			return nil, fmt.Errorf("metric: calibration: confidence of item %d is %g, want 0 to 1", i, p)
		}
		r := float64(count(right[i]))
		b := &c.Bins[max(0, int(math.Ceil(p*float64(bins)))-1)]
		b.Items++
		b.Confidence += p
		b.Accuracy += r
		c.Brier += (p - r) * (p - r)
	}
	c.finish(float64(len(right)))
	return c, nil
}

// finish turns sums into means.
func (c *Calibration) finish(n float64) {
	c.Brier /= n
	for i := range c.Bins {
		b := &c.Bins[i]
		b.Confidence = ratio(b.Confidence, float64(b.Items))
		b.Accuracy = ratio(b.Accuracy, float64(b.Items))
		gap := math.Abs(b.Accuracy - b.Confidence)
		c.ECE += gap * float64(b.Items) / n
		c.MCE = max(c.MCE, gap)
	}
}
