//go:build linux || darwin

package cli

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// fullDisk is the environment variable that limits the size of the files which the program named graft may write, in
// bytes: it stands for a full disk.
const fullDisk = "GRAFT_CLI_TEST_FULL_DISK"

// limited runs main, on a full disk if the environment asks for one.
func limited(main func() int) int {
	n, err := strconv.ParseUint(os.Getenv(fullDisk), 10, 64)
	if err != nil {
		return main()
	}
	signal.Ignore(syscall.SIGXFSZ) // so that writes fail instead
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
		os.Stderr.WriteString(err.Error())
		return 3
	}
	return main()
}
