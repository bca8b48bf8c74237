package atomicfile

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// writeback makes the system write f to the disk while it is still growing, so that the disk does not lie idle until the
// sync at the end. It returns when stop is closed.
func writeback(f *os.File, stop <-chan struct{}) {
	fd := int(f.Fd())
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			if unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE) != nil {
				return // a hint only: the sync at the end reports what is wrong
			}
		}
	}
}
