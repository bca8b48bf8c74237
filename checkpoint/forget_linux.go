package checkpoint

import "syscall"

// Forget lets the system take back the memory of what was read so far. What is read again comes from the file again.
func (c *Checkpoint) Forget() {
	for _, f := range c.files {
		if f.unmap != nil {
			_ = syscall.Madvise(f.data, syscall.MADV_DONTNEED) // advice: nothing depends on it. The mapping is shared and never written
		}
	}
}
