package checkpoint_test

import (
	"fmt"

	"github.com/graft-ml/graft/checkpoint"
)

func Example() {
	data, err := checkpoint.Marshal([]checkpoint.Entry{
		checkpoint.FromFloats("b", []int{3}, []float32{4, 5, 6}),
		checkpoint.FromBytes("a", checkpoint.BF16, []int{1, 2}, []byte{0x80, 0x3f, 0x00, 0x40}),
	}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := checkpoint.Parse(data)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	for _, name := range c.Names() {
		info, _ := c.Info(name)
		x, err := c.Floats(name)
		fmt.Println(name, info.DType, info.Shape, x, err)
	}
	_, err = checkpoint.Parse(data[:100])
	fmt.Println(err)
	// Output:
	// a BF16 [1 2] [1 2] <nil>
	// b F32 [3] [4 5 6] <nil>
	// checkpoint: data: file is cut off: the header has 144 bytes, of which 92 are there
}
