package meminfo

import (
	"bytes"
	"strconv"
)

// parse reads the lines of /proc/PID/status that matter ("RssAnon:\t   1234 kB").
func parse(status []byte) (u Usage, ok bool) {
	found := 0
	for line := range bytes.Lines(status) {
		fields := bytes.Fields(line)
		if len(fields) < 2 {
			continue
		}
		var into *int64
		switch string(fields[0]) {
		case "RssAnon:":
			into = &u.Anonymous
		case "RssFile:":
			into = &u.Mapped
		case "VmHWM:":
			into = &u.Peak
		default:
			continue
		}
		n, err := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil {
			return Usage{}, false
		}
		*into = n << 10
		found++
	}
	u.Exact = found == 3
	return u, u.Exact
}

// machine reads MemTotal of /proc/meminfo; 0 if it is not there.
func machine(info []byte) int64 {
	for line := range bytes.Lines(info) {
		fields := bytes.Fields(line)
		if len(fields) < 2 || string(fields[0]) != "MemTotal:" {
			continue
		}
		n, _ := strconv.ParseInt(string(fields[1]), 10, 64)
		return n << 10
	}
	return 0
}
