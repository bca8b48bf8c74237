//go:build linux && amd64 && !purego

package kernel

import (
	"flag"
	"testing"

	"github.com/graft-ml/graft/internal/tilecpu"
)

var long = flag.Bool("long", false, "run the heavier suites in full")

// TestWithTiles runs what tests products with frozen weights, with tiles that are emulated: for small shapes, or for all
// of them, which takes a minute.
func TestWithTiles(t *testing.T) {
	flags := []string{"-test.run=^(TestFrozenProducts|TestResultsDoNotDependOnThreads|TestStress|TestNaNAndInfPropagate|TestModesMeanTheSameEverywhere|" +
		"TestSmallIntegersAreExact|TestDenormalsAreKeptOrFlushed|TestEndOfMemory|TestTiles.*|TestBenchGemm|TestRoundedOnce|TestModes|TestRight.*|TestLinears)$"}
	if !*long {
		flags = append(flags, "-test.short")
	}
	tilecpu.Rerun(t, flags...)
}
