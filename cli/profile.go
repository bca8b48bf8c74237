package cli

import (
	"errors"
	"os"
	"runtime/pprof"
)

// cpuProfile is the file that a measured part is profiled to; without a file it does nothing.
type cpuProfile struct {
	file  *os.File
	fault error
}

// openCPUProfile makes the file; "" = none.
func openCPUProfile(path string) (p *cpuProfile, err error) {
	p = &cpuProfile{}
	if path != "" {
		p.file, err = os.Create(path)
	}
	return p, err
}

func (p *cpuProfile) start() {
	if p.file != nil {
		p.fault = pprof.StartCPUProfile(p.file)
	}
}

func (p *cpuProfile) stop() error {
	if p.file == nil {
		return nil
	}
	pprof.StopCPUProfile()
	return errors.Join(p.fault, p.file.Close())
}

func writeAllocProfile(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}
