package data_test

import (
	"context"
	"fmt"
	"testing/fstest"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/data/source"
	"github.com/graft-ml/graft/tokenizer"
)

// letters makes a token of each byte.
type letters struct{}

func (letters) Encode(text string, special bool) (e tokenizer.Encoding) {
	for i := range len(text) {
		e.IDs = append(e.IDs, int32(text[i]))
		e.Offsets = append(e.Offsets, [2]int{i, i + 1})
	}
	return e
}
func (letters) BOS() (int32, bool) { return 0, false }
func (letters) EOS() (int32, bool) { return '.', true }

func Example() {
	files := source.Files{Path: "train.jsonl", FS: fstest.MapFS{"train.jsonl": {Data: []byte(
		`{"prompt":"1+1=","completion":"2"}` + "\n" + `{"prompt":"1+2=","completion":"3"}` + "\n")}}}
	set, report, err := data.Build(context.Background(), files.Rows(), letters{}, nil, data.Settings{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Detected)
	stream, err := data.NewStream(set, data.Schedule{BatchSize: 2, Order: "sequential"})
	if err != nil {
		fmt.Println(err)
		return
	}
	step, _ := stream.Next()
	b := step.Batches[0]
	fmt.Println(b.Tokens)
	fmt.Println(b.Targets)
	// Output:
	// shape prompt_completion (prompt, completion)
	// [49 43 49 61 50 46 49 43 50 61 51 46]
	// [-100 -100 -100 50 46 -100 -100 -100 -100 51 46 -100]
}
