package cli

import (
	"fmt"
	"sync/atomic"
	"time"
)

// amount shows how much of something is done and when it will be, on a terminal. say puts done and total into words. It may be called from
// several goroutines.
func (v *progress) amount(what string, say func(n int64) string) func(done, total int64) {
	var shown atomic.Int64
	start := time.Now()
	return func(done, total int64) {
		now := time.Now()
		last := shown.Load()
		if !v.s.terminal || now.UnixMilli()-last < 100 || !shown.CompareAndSwap(last, now.UnixMilli()) {
			return
		}
		line := fmt.Sprintf("%s %s of %s", what, say(done), say(total))
		if took := now.Sub(start); done > 0 && took > time.Second {
			line += "  ETA " + spanText(time.Duration(float64(took)*float64(total-done)/float64(done)))
		}
		v.line(line)
	}
}
