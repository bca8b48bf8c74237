//go:build !amd64 || purego

package kernel

// machineVariants has nothing beyond plain Go here, so the fast paths below are never taken.
func machineVariants() []variant { return nil }

// packed holds nothing in plain Go.
type packed struct{}

func (*packed) free() {}

func (a *Acts) mulT(y Mat, w *Frozen, bias []float32, add bool, more low) {
	mulTGeneric(y, a.x, w, a.mode, bias, add)
	more.addTo(y)
}

func (a *Acts) mul(y Mat, w *Frozen, bias []float32, add bool, more low) {
	mulGeneric(y, a.x, w, a.mode, bias, add)
	more.addTo(y)
}

func (a *Acts) few([]Mat, []Linear) bool { return false }

// ready is B in plain Go.
type ready struct{ rightGo }

func (r *Right) make(b Mat, trans bool) { r.rightGo.make(b, trans, r.mode) }

func (r *Right) multiply(c, a Mat, k0, n0, k int, o MatMulOpts) {
	r.rightGo.multiply(c, a, r.steps, r.cols, k0, n0, k, r.mode, o)
}

func transposeInto(dst, src Mat)           { transposeGo(dst, src) }
func matMulVec(c, a, b Mat, o MatMulOpts)  { matMulGeneric(c, a, b, o) }
func bf16ToF32Vec([]float32, []uint16) int { return 0 }
func f32ToBF16Vec([]uint16, []float32) int { return 0 }
func f16ToF32Vec([]float32, []uint16) int  { return 0 }
func f32ToF16Vec([]uint16, []float32) int  { return 0 }

func betweenVec([]uint32, []float32, uint32, uint32) (whole, n int, c Counts) { return 0, 0, c }
func i8ToF32Vec([]float32, []byte, float32) int                               { return 0 }
func unpackVec([]uint16, []byte, *[32]uint16) int                             { return 0 }
func nf4ToF32Vec([]float32, []byte, []float32) int                            { return 0 }
