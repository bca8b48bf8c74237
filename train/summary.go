package train

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Summary is what a run folder tells about its run.
type Summary struct {
	RecipeHash string
	BaseHash   string
	Sessions   []Session
	Latest     *Checkpoint // nil if there is none
	Damaged    []string    // checkpoints that cannot be used, one line each
	Steps      []int       // of all checkpoint folders, ascending
	Adapter    string      // the result's folder; "" if the run is not complete
	Curves     Curves
}

// Summarize reads a run folder without changing it. A folder that holds no run is fs.ErrNotExist.
func Summarize(dir string) (*Summary, error) {
	env, err := readEnvironment(dir)
	if err != nil {
		return nil, err
	}
	s := &Summary{RecipeHash: env.RecipeHash, BaseHash: env.BaseHash, Sessions: env.Sessions}
	if s.Latest, s.Damaged, err = Latest(dir); err != nil {
		return nil, err
	}
	if s.Steps, err = listSteps(filepath.Join(dir, checkpointDir)); err != nil {
		return nil, err
	}
	if st, err := os.Stat(filepath.Join(dir, adapterDir)); err == nil && st.IsDir() {
		s.Adapter = filepath.Join(dir, adapterDir)
	}
	f, err := os.Open(filepath.Join(dir, metricsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	defer f.Close()
	s.Curves, err = ReadCurves(f)
	return s, err
}
