//go:build !purego

package kernel

//go:noescape
func bf16ToF32Loop(dst *float32, src *uint16, n int)

//go:noescape
func f16ToF32Loop(dst *float32, src *uint16, n int)

//go:noescape
func f32ToBF16Loop(dst *uint16, src *float32, n int)

//go:noescape
func f32ToF16Loop(dst *uint16, src *float32, n int)

// The conversions below do as many numbers as fit in whole steps of 16 and return how many.

func wholeSteps(n int) int {
	if current().vec == vecGo {
		return 0
	}
	return n &^ 15
}

func bf16ToF32Vec(dst []float32, src []uint16) int {
	n := wholeSteps(len(src))
	if n > 0 {
		bf16ToF32Loop(&dst[0], &src[0], n)
	}
	return n
}

func f16ToF32Vec(dst []float32, src []uint16) int {
	n := wholeSteps(len(src))
	if n > 0 {
		f16ToF32Loop(&dst[0], &src[0], n)
	}
	return n
}

func f32ToBF16Vec(dst []uint16, src []float32) int {
	n := wholeSteps(len(src))
	if n > 0 {
		f32ToBF16Loop(&dst[0], &src[0], n)
	}
	return n
}

func f32ToF16Vec(dst []uint16, src []float32) int {
	n := wholeSteps(len(src))
	if n > 0 {
		f32ToF16Loop(&dst[0], &src[0], n)
	}
	return n
}
