package kernel

import "fmt"

var modeNames = [...]string{ModeF32: "f32", ModeBF16: "bf16", ModeSplit: "split"}

// String is the mode as recipes spell it.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// ParseMode reads a mode as recipes spell it.
func ParseMode(s string) (Mode, error) {
	for m, name := range modeNames {
		if s == name {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("kernel: compute: %q, want f32, bf16 or split", s)
}

// DefaultMode is split where the machine has tiles, else f32.
func DefaultMode() Mode {
	if current().tiles {
		return ModeSplit
	}
	return ModeF32
}

var dtypeNames = [...]string{F32: "float32", F16: "float16", BF16: "bfloat16", I8: "int8", NF4: "nf4", Lossless: "lossless"}

// String is the storage type as config files and recipes name it.
func (d DType) String() string {
	if int(d) < len(dtypeNames) {
		return dtypeNames[d]
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}
