//go:build !purego && !linux

package kernel

// permitTiles: whether other systems save tile registers has not been tried, so tiles stay unused there.
func permitTiles() bool { return false }
