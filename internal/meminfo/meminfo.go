// Package meminfo says how much memory the process holds, split into what only it owns and what it maps from files.
// A mapped checkpoint is mapped memory: the system can drop and reread it, and processes share it.
package meminfo

import "runtime"

// Usage is the resident memory of the process in bytes.
type Usage struct {
	Anonymous int64 // heap, stacks, buffers
	Mapped    int64 // pages of files
	Peak      int64 // the largest sum of both so far; 0 where the system does not say
	Exact     bool  // from the system; else Anonymous is what the Go runtime obtained and Mapped is unknown
}

// Read measures now.
func Read() Usage {
	if u, ok := system(); ok {
		return u
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Usage{Anonymous: int64(m.Sys - m.HeapReleased)}
}

// Total is how much memory the process may take at most: the machine's, or its control group's if that is less; 0 where the system
// does not say.
func Total() int64 { return total() }
