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

// String is the storage type as checkpoints name it in config files.
func (d DType) String() string {
	switch d {
	case F32:
		return "float32"
	case F16:
		return "float16"
	case BF16:
		return "bfloat16"
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}
