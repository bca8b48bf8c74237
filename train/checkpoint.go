package train

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/graft-ml/graft/internal/atomicfile"
)

// State is state.json: all that a run remembers besides the numbers in the two safetensors files.
type State struct {
	Format        int      `json:"format"` // 1
	Step          int      `json:"step"`   // updates done
	TotalSteps    int      `json:"total_steps"`
	Epoch         float64  `json:"epoch"`
	Position      Position `json:"position"`       // of the next step's data
	Seed          uint64   `json:"seed"`           // with Step the whole state of the random numbers
	MetricsOffset int64    `json:"metrics_offset"` // bytes of metrics.jsonl that belong to these steps
	TimingOffset  int64    `json:"timing_offset"`
	TotalTokens   int64    `json:"total_tokens"`
	TotalTargets  int64    `json:"total_targets"`
	Optimizer     string   `json:"optimizer"`
	Interval      Sums     `json:"interval"` // of the steps since the last logged line
	LastLoss      float64  `json:"last_loss"`
	LastGradNorm  float64  `json:"last_grad_norm"`
	Best          *Best    `json:"best"`
	Worse         int      `json:"worse"`         // evaluations since the best
	Watchdog      int      `json:"watchdog"`      // steps running above the threshold
	EvalPending   bool     `json:"eval_pending"`  // the evaluation after Step was interrupted
	Evaluated     int      `json:"evaluated"`     // step of the last evaluation; -1 before the first
	LastEval      []Metric `json:"last_eval"`     // its metrics
	LastLogged    float64  `json:"last_logged"`   // loss of the last logged line
	Plateau       *Plateau `json:"plateau"`       // of the schedule that needs it
	Stopped       string   `json:"stopped"`       // why the run ended early; "" while it goes on
	RecipeHash    string   `json:"recipe_hash"`   // see Identity
	BaseHash      string   `json:"base_hash"`     // see Identity
	HasOptimizer  bool     `json:"has_optimizer"` // there is an optimizer.safetensors
}

const stateFormat = 1

// Files of a checkpoint.
const (
	trainableFile = "trainable.safetensors"
	optimizerFile = "optimizer.safetensors"
	stateFile     = "state.json"
	sumsFile      = "SHA256SUMS"
	stepPrefix    = "step-"
)

// Checkpoint is a checkpoint whose files agree with their sums.
type Checkpoint struct {
	Dir   string
	State State
}

// Latest finds the newest good checkpoint of a run folder; nil if there is none. What is wrong with newer ones, if any,
// is told in damaged, one line each.
func Latest(dir string) (c *Checkpoint, damaged []string, err error) {
	steps, err := listSteps(filepath.Join(dir, checkpointDir))
	if err != nil {
		return nil, nil, err
	}
	for _, step := range slices.Backward(steps) {
		c, err := OpenCheckpoint(stepDir(dir, step))
		if err == nil {
			return c, damaged, nil
		}
		damaged = append(damaged, err.Error())
	}
	return nil, damaged, nil
}

func stepDir(dir string, step int) string {
	return filepath.Join(dir, checkpointDir, stepPrefix+strconv.Itoa(step))
}

// listSteps lists the steps that have a folder, in ascending order.
func listSteps(dir string) ([]int, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	var steps []int
	for _, e := range list {
		number, ok := strings.CutPrefix(e.Name(), stepPrefix)
		if n, err := strconv.Atoi(number); ok && err == nil && e.IsDir() && strconv.Itoa(n) == number {
			steps = append(steps, n)
		}
	}
	slices.Sort(steps)
	return steps, nil
}

// OpenCheckpoint reads the state of the checkpoint in dir and verifies every file.
func OpenCheckpoint(dir string) (*Checkpoint, error) {
	c := &Checkpoint{Dir: dir}
	sums, err := readSums(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{stateFile, trainableFile} {
		if _, ok := sums[name]; !ok {
			return nil, fmt.Errorf("train: %s: names no %s", filepath.Join(dir, sumsFile), name)
		}
	}
	for _, name := range []string{stateFile, trainableFile, optimizerFile} {
		want, ok := sums[name]
		if !ok {
			continue
		}
		got, err := hashFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("train: %w", err)
		}
		if got != want {
			return nil, fmt.Errorf("train: %s: sum is %s, want %s", filepath.Join(dir, name), short(got), short(want))
		}
	}
	src, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	if err := c.State.decode(src); err != nil {
		return nil, fmt.Errorf("train: %s: %w", filepath.Join(dir, stateFile), err)
	}
	if _, ok := sums[optimizerFile]; ok != c.State.HasOptimizer {
		return nil, fmt.Errorf("train: %s: %s present is %v, want %v", dir, optimizerFile, ok, c.State.HasOptimizer)
	}
	return c, nil
}

// decode reads state.json.
func (s *State) decode(src []byte) error {
	d := json.NewDecoder(bytes.NewReader(src))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return err
	}
	if s.Format != stateFormat {
		return fmt.Errorf("format is %d, want %d", s.Format, stateFormat)
	}
	return nil
}

// readSums reads SHA256SUMS: lines of a hash, two spaces, a name.
func readSums(dir string) (map[string]string, error) {
	name := filepath.Join(dir, sumsFile)
	src, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return parseSums(name, src)
}

func parseSums(name string, src []byte) (map[string]string, error) {
	sums := map[string]string{}
	scan := bufio.NewScanner(bytes.NewReader(src))
	for n := 1; scan.Scan(); n++ {
		hash, file, ok := strings.Cut(scan.Text(), "  ")
		if !ok || len(hash) != 2*sha256.Size {
			return nil, fmt.Errorf("train: %s:%d: is %q, want a hash, two spaces and a name", name, n, scan.Text())
		}
		sums[file] = hash
	}
	return sums, nil
}

func hashFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// saveCheckpoint writes the checkpoint of a state, with what optimizer and method remember, and returns its folder.
func (f *Folder) saveCheckpoint(params []Param, moments []StateTensor, s State) (string, error) {
	s.Format, s.RecipeHash, s.BaseHash = stateFormat, f.id.RecipeHash, f.id.BaseHash
	trainable := make([]StateTensor, len(params))
	for i, p := range params {
		trainable[i] = StateTensor{p.Name, p.Rows, p.Cols, p.Value}
	}
	s.HasOptimizer = len(moments) > 0
	state, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return "", fmt.Errorf("train: %s: %w", stateFile, err)
	}
	final := stepDir(f.Dir, s.Step)
	err = atomicfile.WriteDir(final, true, func(dir string) error {
		err := writeTensors(filepath.Join(dir, trainableFile), trainable)
		if err == nil && s.HasOptimizer {
			err = writeTensors(filepath.Join(dir, optimizerFile), moments)
		}
		if err == nil {
			err = atomicfile.WriteBytes(filepath.Join(dir, stateFile), append(state, '\n'))
		}
		if err != nil {
			return err
		}
		return writeSums(dir)
	})
	if err != nil {
		// The temporary names on the way are of no use to the reader.
		if errno := syscall.Errno(0); errors.As(err, &errno) {
			err = errno
		}
		return "", fmt.Errorf("train: step %d: %s was not written: %w", s.Step, final, err)
	}
	return final, nil
}

func writeSums(dir string) error {
	var sums []byte
	for _, name := range []string{optimizerFile, stateFile, trainableFile} {
		h, err := hashFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		sums = fmt.Appendf(sums, "%s  %s\n", h, name)
	}
	return atomicfile.WriteBytes(filepath.Join(dir, sumsFile), sums)
}

// prune removes all checkpoints but the newest limit and the one of step best.
func (f *Folder) prune(limit, best int) error {
	steps, err := listSteps(filepath.Join(f.Dir, checkpointDir))
	if err != nil {
		return err
	}
	for _, step := range steps[:max(0, len(steps)-limit)] {
		if step == best {
			continue
		}
		dir := stepDir(f.Dir, step)
		// Under its final name a checkpoint is whole, also while it is being removed.
		doomed := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".tmp-00000000")
		err := os.Rename(dir, doomed)
		if err == nil {
			err = os.RemoveAll(doomed)
		}
		if err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	return nil
}

// Load reads the trained numbers into the parameters, which must be exactly those of the checkpoint.
func (c *Checkpoint) Load(params []Param) error { return c.restore(params, nil, nil) }

// restore reads the numbers of the checkpoint into the parameters and, unless o is nil, into what optimizer and method remember.
func (c *Checkpoint) restore(params []Param, o *Optimizer, moments []StateTensor) error {
	trainable := make([]StateTensor, len(params))
	for i, p := range params {
		trainable[i] = StateTensor{p.Name, p.Rows, p.Cols, p.Value}
	}
	if err := readTensors(filepath.Join(c.Dir, trainableFile), trainable); err != nil || o == nil {
		return err
	}
	o.SetSteps(c.State.Step)
	if c.State.HasOptimizer != (len(moments) > 0) {
		return fmt.Errorf("train: %s: was written with optimizer %s, which has other state", c.Dir, c.State.Optimizer)
	}
	if len(moments) == 0 {
		return nil
	}
	return readTensors(filepath.Join(c.Dir, optimizerFile), moments)
}
