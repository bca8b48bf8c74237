package kernel

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
)

// nf4File reads testdata/nf4.safetensors, which testdata/gen/nf4.py wrote.
func nf4File(t *testing.T) func(name string) []byte {
	raw, err := os.ReadFile("testdata/nf4.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(raw)
	var tensors map[string]struct {
		Offsets [2]int `json:"data_offsets"`
	}
	if err := json.Unmarshal(raw[8:8+n], &tensors); err != nil {
		t.Fatal(err)
	}
	return func(name string) []byte {
		o := tensors[name].Offsets
		if o[1] == 0 {
			t.Fatalf("testdata/nf4.safetensors: no tensor %q", name)
		}
		return raw[8+n:][o[0]:o[1]]
	}
}

func float32s(b []byte) []float32 {
	x := make([]float32, len(b)/4)
	for i := range x {
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return x
}

func TestNF4IsThatOfBitsandbytes(t *testing.T) {
	file := nf4File(t)
	const rows, cols = 101, 172
	half := make([]uint16, rows*cols)
	for i, b := 0, file("weight"); i < len(half); i++ {
		half[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	q := FrozenU16(half, BF16, rows, cols).Quantise(NF4)
	t.Run("the tables are the same", func(t *testing.T) {
		if !slices.Equal(nf4Values[:], float32s(file("table"))) {
			t.Errorf("values %v", nf4Values)
		}
		if got, want := scaleValues[:], float32s(file("scale_table")); !slices.Equal(got, want) {
			t.Errorf("scales' values %v, want %v", got, want)
		}
	})
	t.Run("numbers, scales and scales of scales are the same", func(t *testing.T) {
		if !slices.Equal(q.q.bytes, file("packed")) {
			t.Error("packed numbers differ")
		}
		if !slices.Equal(q.q.codes, file("scales")) {
			t.Errorf("scales %v, want %v", q.q.codes, file("scales"))
		}
		// the mean of the scales is summed in another order
		if want := float32s(file("offset"))[0]; math.Abs(float64(q.q.offset/want-1)) > 1e-6 {
			t.Errorf("offset %g, want %g", q.q.offset, want)
		}
		for i, want := range float32s(file("scales_of_scales")) {
			if math.Abs(float64(q.q.groups[i]/want-1)) > 1e-6 {
				t.Errorf("scale of scales %d is %g, want %g", i, q.q.groups[i], want)
			}
		}
	})
	t.Run("what is read from the same bytes is the same, bit for bit", func(t *testing.T) {
		theirs := &Frozen{Rows: rows, Cols: cols, DType: NF4, q: &quant{bytes: file("packed"), codes: file("scales"), groups: float32s(file("scales_of_scales")),
			offset: float32s(file("offset"))[0]}}
		want := float32s(file("dequantised"))
		everyVariant(t, func(t *testing.T) {
			got := make([]float32, cols)
			for i := range rows {
				if theirs.Row(got, i); !slices.Equal(got, want[i*cols:(i+1)*cols]) {
					t.Fatalf("row %d is %v, want %v", i, got, want[i*cols:(i+1)*cols])
				}
			}
		})
	})
}
