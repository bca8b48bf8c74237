package train

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/graft-ml/graft/internal/atomicfile"
)

// Identity says which run a folder holds.
type Identity struct {
	Recipe     []byte // the resolved recipe; becomes recipe.toml
	RecipeHash string // of what decides the result; "" takes the hash of Recipe
	BaseHash   string // of the frozen checkpoint
	Base       *Base  // finds BaseHash; nil = it is known
	Session    Session
}

// Session is the environment of one start or resume.
type Session struct {
	Started     time.Time `json:"started"`
	Graft       string    `json:"graft"` // version
	Go          string    `json:"go"`
	OS          string    `json:"os"`
	Arch        string    `json:"arch"`
	CPU         string    `json:"cpu,omitempty"`
	Kernel      string    `json:"kernel"`  // the kernel variant, as kernel.Features names it
	Compute     string    `json:"compute"` // the mode
	GOMAXPROCS  int       `json:"gomaxprocs"`
	Seed        uint64    `json:"seed"`
	Command     []string  `json:"command,omitempty"`
	ResumedFrom int       `json:"resumed_from"` // step; 0 is a start
}

// environment is environment.json.
type environment struct {
	RecipeHash string    `json:"recipe_hash"`
	BaseHash   string    `json:"base_hash"`
	Sessions   []Session `json:"sessions"`
}

// Opening says what to do with a folder that exists.
type Opening int

// The ways to open a run folder.
const (
	Fresh     Opening = iota // an existing run is an error, unless it failed before its first results
	Overwrite                // an existing run is removed
	Resume                   // an existing run goes on; without one it starts
)

// Names inside a run folder.
const (
	recipeFile      = "recipe.toml"
	environmentFile = "environment.json"
	metricsFile     = "metrics.jsonl"
	timingFile      = "timing.jsonl"
	curveFile       = "loss.svg"
	boardDir        = "tensorboard"
	checkpointDir   = "checkpoints"
	adapterDir      = "adapter"
)

// reportFiles are what package report writes when the run is complete.
var reportFiles = []string{"report.json", "report.md", "report.html", "eval"}

var contents = append([]string{recipeFile, environmentFile, metricsFile, timingFile, curveFile, boardDir, checkpointDir, adapterDir}, reportFiles...)

// Folder is an open run folder. Not safe for concurrent use, nor by two processes.
type Folder struct {
	Dir      string
	id       Identity
	from     *Checkpoint // where to go on; nil at a start
	resumed  bool
	warnings []string
	made     bool // there was none before
	unsound  bool // the base cannot be trained on: nothing of the run is worth keeping
	lock     *os.File
}

// Open prepares the run folder dir for a run and writes recipe.toml and environment.json.
func Open(dir string, id Identity, how Opening) (*Folder, error) {
	if id.RecipeHash == "" {
		sum := sha256.Sum256(id.Recipe)
		id.RecipeHash = hex.EncodeToString(sum[:])
	}
	f := &Folder{Dir: dir, id: id}
	if err := f.open(how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *Folder) open(how Opening) error {
	_, err := os.Stat(f.Dir)
	f.made = errors.Is(err, fs.ErrNotExist)
	if err = os.MkdirAll(f.Dir, 0o777); err == nil {
		f.lock, err = os.Open(f.Dir)
	}
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	if !lock(f.lock) {
		return fmt.Errorf("train: %s: another process is training in this folder", f.Dir)
	}
	if err := f.prepare(how); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(f.Dir, checkpointDir), 0o777); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	if err := f.sweep(); err != nil {
		return err
	}
	return f.describe()
}

// prepare deals with what the folder already holds.
func (f *Folder) prepare(how Opening) error {
	list, err := os.ReadDir(f.Dir)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	var run, foreign []string
	for _, e := range list {
		switch {
		case slices.Contains(contents, e.Name()):
			run = append(run, e.Name())
		case !strings.HasPrefix(e.Name(), "."):
			foreign = append(foreign, e.Name())
		}
	}
	switch {
	case len(run) == 0 && len(foreign) > 0:
		return fmt.Errorf("train: %s: the folder exists and holds no run but %s, want an empty or new folder", f.Dir, foreign[0])
	case len(run) == 0:
		return nil // new or empty
	case how == Fresh && begun(f.Dir):
		return fmt.Errorf("train: %s: the folder holds a run%s; resume it, overwrite it, or choose another folder", f.Dir, reached(f.Dir))
	case how != Resume:
		return f.remove(run)
	}
	return f.reopen()
}

// remove removes what is called so.
func (f *Folder) remove(names []string) error {
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(f.Dir, name)); err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	return nil
}

// begun tells whether the folder holds more than the description of a run that failed before its first results.
func begun(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, adapterDir))
	metrics, _ := os.Stat(filepath.Join(dir, metricsFile))
	steps, _ := listSteps(filepath.Join(dir, checkpointDir))
	return err == nil || metrics != nil && metrics.Size() > 0 || len(steps) > 0
}

// reached tells how far the run in the folder has come.
func reached(dir string) string {
	c, _, err := Latest(dir)
	if err != nil || c == nil {
		return " without a checkpoint"
	}
	return fmt.Sprintf(" with %d of %d steps", c.State.Step, c.State.TotalSteps)
}

// reopen checks that the folder's run is the same run and finds its last good checkpoint.
func (f *Folder) reopen() error {
	f.resumed = true
	if err := f.know(); err != nil {
		return err
	}
	env, err := readEnvironment(f.Dir)
	if err == nil {
		err = f.sameRun(env.RecipeHash, env.BaseHash)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil // killed before it was written, or an incomplete copy: the checkpoint's own hashes decide
	}
	if err != nil {
		return err
	}
	c, damaged, err := Latest(f.Dir)
	if err != nil {
		return err
	}
	for _, d := range damaged {
		f.warnings = append(f.warnings, "left aside: "+d)
	}
	if c == nil {
		return nil
	}
	if err := f.sameRun(c.State.RecipeHash, c.State.BaseHash); err != nil {
		return err
	}
	if last := len(env.Sessions) - 1; last >= 0 {
		was, is := env.Sessions[last], f.id.Session
		if was.Kernel != is.Kernel || was.Compute != is.Compute {
			f.warnings = append(f.warnings, fmt.Sprintf("the run used kernel %s in mode %s, this session uses %s in mode %s: its numbers will differ by rounding from an uninterrupted run's",
				was.Kernel, was.Compute, is.Kernel, is.Compute))
		}
	}
	f.from = c
	f.id.Session.ResumedFrom = c.State.Step
	return nil
}

// sameRun refuses another recipe or base.
func (f *Folder) sameRun(recipeHash, baseHash string) error {
	if baseHash != f.id.BaseHash {
		return fmt.Errorf("train: %s: resume with another base: hash %s, the run has %s", f.Dir, short(f.id.BaseHash), short(baseHash))
	}
	if recipeHash == f.id.RecipeHash {
		return nil
	}
	old, err := os.ReadFile(filepath.Join(f.Dir, recipeFile))
	if err != nil {
		return fmt.Errorf("train: %s: resume with another recipe: hash %s, the run has %s", f.Dir, short(f.id.RecipeHash), short(recipeHash))
	}
	return fmt.Errorf("train: %s: resume with another recipe: %s", f.Dir, differences(old, f.id.Recipe))
}

func short(hash string) string {
	if len(hash) > 12 {
		return hash[:12] + "…"
	}
	return fmt.Sprintf("%q", hash)
}

func readEnvironment(dir string) (environment, error) {
	var e environment
	src, err := os.ReadFile(filepath.Join(dir, environmentFile))
	if err != nil {
		return e, fmt.Errorf("train: %w", err)
	}
	if err := json.Unmarshal(src, &e); err != nil {
		return e, fmt.Errorf("train: %s: %w", filepath.Join(dir, environmentFile), err)
	}
	return e, nil
}

// sweep removes what a killed run left unfinished.
func (f *Folder) sweep() error {
	for _, dir := range []string{f.Dir, filepath.Join(f.Dir, checkpointDir)} {
		list, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("train: %w", err)
		}
		for _, e := range list {
			if atomicfile.IsTemp(e.Name()) {
				if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
					return fmt.Errorf("train: %w", err)
				}
			}
		}
	}
	return nil
}

// describe writes recipe.toml, unless the folder's own stays, and adds the session to environment.json as soon as the base is known.
func (f *Folder) describe() error {
	name := filepath.Join(f.Dir, recipeFile)
	if _, err := os.Stat(name); err != nil || f.from == nil {
		if err := f.write(recipeFile, f.id.Recipe); err != nil {
			return err
		}
	}
	if f.id.Base != nil {
		return nil // until the hash is there
	}
	env := environment{RecipeHash: f.id.RecipeHash, BaseHash: f.id.BaseHash}
	if f.resumed {
		if old, err := readEnvironment(f.Dir); err == nil {
			env.Sessions = old.Sessions
		}
	}
	env.Sessions = append(env.Sessions, f.id.Session)
	src, err := json.MarshalIndent(env, "", "  ")
	if err != nil {
		return fmt.Errorf("train: %s: %w", environmentFile, err)
	}
	return f.write(environmentFile, append(src, '\n'))
}

// write puts a whole file into the folder.
func (f *Folder) write(name string, content []byte) error {
	if err := atomicfile.WriteBytes(filepath.Join(f.Dir, name), content); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// drawCurve redraws loss.svg from metrics.jsonl.
func (f *Folder) drawCurve() error {
	src, err := os.Open(filepath.Join(f.Dir, metricsFile))
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	defer src.Close()
	c, err := ReadCurves(src)
	if err != nil || len(c.Steps)+len(c.EvalSteps) == 0 {
		return err
	}
	if err := atomicfile.Write(filepath.Join(f.Dir, curveFile), c.WriteSVG); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// saveAdapter has the caller write the result into a folder that gets its name when it is whole.
func (f *Folder) saveAdapter(save func(dir string) error) (string, error) {
	final := filepath.Join(f.Dir, adapterDir)
	if err := atomicfile.WriteDir(final, true, save); err != nil {
		if errno := syscall.Errno(0); errors.As(err, &errno) {
			err = errno // without the temporary names on the way
		}
		return "", fmt.Errorf("train: %s was not written: %w", final, err)
	}
	return final, nil
}

// Close lets other processes use the folder. Run does it at its end.
func (f *Folder) Close() error {
	if f.lock == nil {
		return nil
	}
	var err error
	if f.unsound {
		err = f.remove(contents)
	}
	err = errors.Join(err, f.lock.Close())
	if f.unsound && f.made {
		err = errors.Join(err, os.Remove(f.Dir))
	}
	f.lock = nil
	return err
}
