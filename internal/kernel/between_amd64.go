//go:build !purego

package kernel

//go:noescape
func betweenLoop(out *uint32, x *float32, n int, low, high uint32, counts *[3]uint32) int

// betweenVec does as many numbers of Between as fit in whole steps of 8 and returns how many.
func betweenVec(out []uint32, x []float32, low, high uint32) (whole, n int, c Counts) {
	if whole = len(x) &^ 7; whole == 0 || current().vec == vecGo {
		return 0, 0, c
	}
	var counts [3]uint32 // below low, above low, above high
	n = betweenLoop(&out[0], &x[0], whole, low, high, &counts)
	c.Below = int(counts[0])
	c.AtLow = whole - int(counts[0]) - int(counts[1])
	c.AtHigh = int(counts[1]) - n - int(counts[2])
	return whole, n, c
}
