package tokenizer

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// EncodeBatch tokenizes many texts on several goroutines (0 = GOMAXPROCS); the result is in the order of texts and does
// not depend on their number.
func (tk *Tokenizer) EncodeBatch(texts []string, special bool, goroutines int) []Encoding {
	if goroutines <= 0 {
		goroutines = runtime.GOMAXPROCS(0)
	}
	out := make([]Encoding, len(texts))
	var next atomic.Int64
	var wait sync.WaitGroup
	for range min(goroutines, len(texts)) {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(texts)); i = next.Add(1) - 1 {
				out[i] = tk.Encode(texts[i], special)
			}
		})
	}
	wait.Wait()
	return out
}
