//go:build !linux

package atomicfile

import "os"

func writeback(_ *os.File, stop <-chan struct{}) { <-stop }
