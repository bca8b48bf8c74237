//go:build !purego

package kernel

import "syscall"

// permitTiles asks for the tile registers. Linux hands their state out per process, on request; threads made later
// inherit the permission. An old kernel or a sandbox answers an error, and then there are no tiles for us.
func permitTiles() bool {
	const archPrctl, reqXcompPerm, xtileData = 158, 0x1023, 18
	_, _, e := syscall.RawSyscall(archPrctl, reqXcompPerm, xtileData, 0)
	return e == 0
}
