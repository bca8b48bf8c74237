//go:build !linux

package meminfo

func system() (Usage, bool) { return Usage{}, false }
