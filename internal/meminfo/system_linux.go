package meminfo

import (
	"bytes"
	"os"
	"strconv"
)

func system() (Usage, bool) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return Usage{}, false
	}
	return parse(status)
}

func total() int64 {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	n := machine(info)
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		line, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if own, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64); err == nil && own > 0 { // "max" is no limit
			n = min(n, own)
		}
	}
	return n
}
