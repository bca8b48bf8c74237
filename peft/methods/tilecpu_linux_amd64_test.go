//go:build !purego

package methods_test

import (
	"testing"

	"github.com/graft-ml/graft/internal/tilecpu"
)

// TestWithTiles: the gradients of whole models are right where products use tiles.
func TestWithTiles(t *testing.T) { tilecpu.Rerun(t, "-test.run=^TestGradientsInEveryMode$") }
