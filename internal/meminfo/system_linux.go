package meminfo

import "os"

func system() (Usage, bool) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return Usage{}, false
	}
	return parse(status)
}
