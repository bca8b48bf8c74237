//go:build linux || darwin

package train

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// child is the environment variable that makes a test's process train in a folder and tell each step.
const child = "GRAFT_TRAIN_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(child); dir != "" {
		os.Exit(trainAsChild(dir))
	}
	os.Exit(m.Run())
}

// trainAsChild resumes the folder's run; "full:" before it limits the size of files, which stands for a full disk.
func trainAsChild(dir string) int {
	if rest, full := strings.CutPrefix(dir, "full:"); full {
		dir = rest
		signal.Ignore(syscall.SIGXFSZ) // so that writes fail instead
		// The toy's checkpoint has two files above 500 bytes; metrics.jsonl passes it, too.
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 900, Max: 900}); err != nil {
			os.Stderr.WriteString(err.Error())
			return 3
		}
	}
	f, err := Open(dir, identity, Resume)
	if err == nil {
		m := newBigram(13, 4)
		j := toyJob(m)
		j.SaveSteps, j.LoggingSteps = 1, 1
		j.Folder, j.Save = f, saveRaw(m)
		j.Report = func(e Event) { fmt.Println(e.Kind, e.Step) }
		_, err = Run(context.Background(), j)
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return 0
}

func spawn(t *testing.T, dir string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), child+"="+dir)
	return c
}

// TestKilledAnywhereResumes kills a process -9 soon after one of its events, in the middle of whatever follows, and lets
// the next one resume until one is through.
func TestKilledAnywhereResumes(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	if out, err := spawn(t, whole).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir := filepath.Join(t.TempDir(), "run")
	kills := 0
	for through := false; !through; kills++ {
		if kills > 60 {
			t.Fatal("the run does not get through")
		}
		c := spawn(t, dir)
		events := must(c.StdoutPipe())(t)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		// A step makes three events or four: resumed (once), stepped, logged, evaluated, saved.
		lines := bufio.NewScanner(events)
		for n := 4 + kills%7; n > 0 && lines.Scan(); n-- {
		}
		c.Process.Kill()
		through = c.Wait() == nil
		if state := c.ProcessState.Sys().(syscall.WaitStatus); !through && !state.Signaled() {
			t.Fatalf("the child ended with %v", c.ProcessState)
		}
		noHalfFiles(t, dir)
	}
	t.Logf("%d kills", kills-1)
	if kills < 6 {
		t.Errorf("only %d kills, want more for a test", kills-1)
	}
	same(t, "killed", dir, whole)
}

// noHalfFiles checks that every checkpoint under a final name is whole.
func noHalfFiles(t *testing.T, dir string) {
	t.Helper()
	if _, damaged, err := Latest(dir); err != nil || len(damaged) > 0 {
		t.Errorf("after a kill: %v, %v", damaged, err)
	}
}

func TestFullDiskIsOneLine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	c := spawn(t, "full:"+dir)
	var stderr strings.Builder
	c.Stderr = &stderr
	err := c.Run()
	message := strings.TrimSpace(stderr.String())
	if err == nil || strings.Contains(message, "\n") || !strings.HasPrefix(message, "train: ") || !strings.HasSuffix(message, "file too large") {
		t.Errorf("a run on a full disk ended with %v: %s, want one line", err, message)
	}
	t.Log(message)
	noHalfFiles(t, dir)
	if out, err := spawn(t, dir).CombinedOutput(); err != nil {
		t.Errorf("the run does not resume once there is space: %v: %s", err, out)
	}
}
