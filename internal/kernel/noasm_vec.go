package kernel

func bf16ToF32Vec([]float32, []uint16) int { return 0 }
func f32ToBF16Vec([]uint16, []float32) int { return 0 }
func f16ToF32Vec([]float32, []uint16) int  { return 0 }
func f32ToF16Vec([]uint16, []float32) int  { return 0 }
