package meminfo

import (
	"runtime"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, status string
		want         Usage
		ok           bool
	}{
		{"kernel's lines are read in bytes", "Name:\tgraft\nVmHWM:\t  300 kB\nVmRSS:\t 250 kB\nRssAnon:\t 100 kB\nRssFile:\t 150 kB\n", Usage{100 << 10, 150 << 10, 300 << 10, true}, true},
		{"a kernel without the split is refused", "VmHWM:\t 300 kB\nVmRSS:\t 250 kB\n", Usage{Peak: 300 << 10}, false},
		{"nonsense is refused", "RssAnon:\tx kB\n", Usage{}, false},
		{"nothing is refused", "", Usage{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if u, ok := parse([]byte(c.status)); ok != c.ok || ok && u != c.want {
				t.Errorf("parse(%q) = %+v, %v, want %+v, %v", c.status, u, ok, c.want, c.ok)
			}
		})
	}
}

func TestMachine(t *testing.T) {
	for info, want := range map[string]int64{"MemTotal:       24 kB\nMemFree: 3 kB\n": 24 << 10, "MemFree: 3 kB\n": 0, "MemTotal: x kB\n": 0, "": 0} {
		if got := machine([]byte(info)); got != want {
			t.Errorf("machine(%q) = %d, want %d", info, got, want)
		}
	}
}

func TestReadGrows(t *testing.T) {
	before := Read()
	if before.Anonymous <= 0 {
		t.Fatalf("Read() = %+v, want some anonymous memory", before)
	}
	b := make([]byte, 64<<20)
	for i := range b {
		b[i] = 1
	}
	if after := Read(); after.Anonymous-before.Anonymous < 32<<20 {
		t.Errorf("64 MiB of touched heap moved Anonymous from %d to %d", before.Anonymous, after.Anonymous)
	}
	runtime.KeepAlive(b)
}
