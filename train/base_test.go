package train

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// startOn is start on a base whose hash is yet to be found.
func startOn(t *testing.T, dir string, how Opening, base *Base) (Job, error) {
	t.Helper()
	id := identity
	id.BaseHash, id.Base = "", base
	f, err := Open(dir, id, how)
	m := newBigram(13, 4)
	j := toyJob(m)
	j.Folder, j.Save = f, saveRaw(m)
	return j, err
}

// TestBaseIsFoundMeanwhile trains the first step before the hash is looked for. The run's files are those of a run that knew it.
func TestBaseIsFoundMeanwhile(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	known, dir := t.TempDir(), t.TempDir()
	_, j := start(t, known, Fresh)
	mustRun(t, t.Context(), j)

	stepped := make(chan struct{})
	base := FindBase(func() (string, error) { <-stepped; return identity.BaseHash, nil })
	j, err := startOn(t, dir, Fresh, base)
	if err != nil {
		t.Fatal(err)
	}
	j.Report = func(e Event) {
		if e.Kind == Stepped && e.Step == 3 {
			close(stepped)
		}
	}
	mustRun(t, t.Context(), j)
	base.Settle()
	for _, name := range []string{metricsFile, adapterDir + "/adapter.json", checkpointDir + "/step-6/" + stateFile, checkpointDir + "/step-6/" + trainableFile} {
		if got, want := string(read(t, dir, name)), string(read(t, known, name)); dropOffset(got) != dropOffset(want) {
			t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
		}
	}
	got, err := readEnvironment(dir)
	if err != nil || got.BaseHash != identity.BaseHash || len(got.Sessions) != 1 {
		t.Errorf("environment.json: %+v, %v, want base %s and one session", got, err, identity.BaseHash)
	}
}

// dropOffset leaves out the line of state.json that differs from run to run.
func dropOffset(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		if !strings.Contains(line, "timing_offset") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// TestBaseIsRefused has the base turn out bad while the run goes on: its error comes before others, and nothing stays.
func TestBaseIsRefused(t *testing.T) {
	bad := errors.New("a tensor has no finite number")
	for name, change := range map[string]func(*Job){
		"steps go well":         func(*Job) {},
		"a step fails":          func(j *Job) { j.WatchdogThreshold, j.WatchdogPatience = 1e-9, 1 },
		"the first one is last": func(j *Job) { j.Steps, j.WarmupSteps = 1, 0 },
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			dir := t.TempDir()
			j, err := startOn(t, dir, Fresh, FindBase(func() (string, error) { return "", bad }))
			if err != nil {
				t.Fatal(err)
			}
			change(&j)
			if _, err := Run(t.Context(), j); !errors.Is(err, bad) {
				t.Errorf("Run: %v, want %v", err, bad)
			}
			if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
				t.Errorf("%d files stay behind, %v", len(list), err)
			}
		})
	}
}

// TestBaseBeforeResume interrupts a run and goes on with its base and with another.
func TestBaseBeforeResume(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := filepath.Join(t.TempDir(), "run")
	on := func(hash string) (Job, error) {
		return startOn(t, dir, Resume, FindBase(func() (string, error) { return hash, nil }))
	}
	ctx, cancel := context.WithCancel(t.Context())
	j, err := on(identity.BaseHash)
	if err != nil {
		t.Fatal(err)
	}
	j.Report = func(e Event) {
		if e.Step == 2 {
			cancel()
		}
	}
	if r := mustRun(t, ctx, j); !r.Interrupted || r.Checkpoint == "" {
		t.Fatalf("%+v, want a run that was interrupted and saved", r)
	}
	if _, err := on("ffff"); err == nil || !strings.Contains(err.Error(), "resume with another base") {
		t.Errorf("another base: %v, want it refused when the folder is opened", err)
	}
	if j, err = on(identity.BaseHash); err != nil {
		t.Fatal(err)
	}
	if r := mustRun(t, t.Context(), j); r.Step != 24 {
		t.Errorf("ended after step %d, want 24", r.Step)
	}
}
