//go:build linux || darwin

package cli

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/graft-ml/graft/train"
)

// shortRecipe trains the program's own base for a few steps, with everything that a resumed run must not lose: dropout,
// noise, momentum, a schedule, evaluations.
const shortRecipe = `[model]
path = "builtin:quickstart"
[method]
r = 4
lora_dropout = 0.1
[data]
path = "builtin:quickstart/train.jsonl"
eval_path = "builtin:quickstart/eval.jsonl"
max_rows = 10
eval_max_rows = 2
sequence_len = 96
[train]
batch_size = 2
epochs = 2
logging_steps = 1
save_steps = 2
neftune_alpha = 5
[eval]
steps = 3
[output]
dir = "run"
`

// results are the files of a run that must be the same to the byte however it came to its end.
var results = []string{"adapter/adapter_model.safetensors", "adapter/adapter_config.json", "metrics.jsonl", "loss.svg"}

// started is the program at work in a folder.
type started struct {
	*exec.Cmd
	lines *bufio.Scanner // of stderr
	text  strings.Builder
}

func start(t *testing.T, dir string, env []string, args ...string) *started {
	t.Helper()
	s := &started{Cmd: exec.Command("graft", args...)}
	s.Dir, s.Env = dir, append(os.Environ(), env...)
	pipe, err := s.StderrPipe()
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	s.lines = bufio.NewScanner(pipe)
	return s
}

// next reads a line; false is the end.
func (s *started) next() bool {
	if !s.lines.Scan() {
		return false
	}
	s.text.WriteString(s.lines.Text() + "\n")
	return true
}

// end reads the rest and returns the exit code, or -1 if a signal ended the program.
func (s *started) end(t *testing.T) int {
	t.Helper()
	for s.next() {
	}
	var exit *exec.ExitError
	if err := s.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return s.ProcessState.ExitCode()
}

// finish runs the program to its end and wants it to succeed.
func finish(t *testing.T, dir string, env []string, args ...string) (stderr string) {
	t.Helper()
	s := start(t, dir, env, args...)
	if code := s.end(t); code != exitOK {
		t.Fatalf("graft %s = %d, want 0\n%s", strings.Join(args, " "), code, s.text.String())
	}
	return s.text.String()
}

// shortRun is a new folder with the short recipe.
func shortRun(t *testing.T) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "r.toml"), []byte(shortRecipe), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sameResults compares the run folder of dir with another's, byte by byte.
func sameResults(t *testing.T, what, dir, whole string) {
	t.Helper()
	for _, name := range results {
		got, err := os.ReadFile(filepath.Join(dir, "run", name))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		want, err := os.ReadFile(filepath.Join(whole, "run", name))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %s differs from the uninterrupted run's", what, name)
		}
	}
}

// wholeCheckpoints checks that every checkpoint under a final name is whole, and returns the step of the newest; -1 if there is none.
func wholeCheckpoints(t *testing.T, dir string) int {
	t.Helper()
	run := filepath.Join(dir, "run")
	c, damaged, err := train.Latest(run)
	if len(damaged) > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("damaged checkpoints: %v %v", damaged, err)
	}
	if exists(filepath.Join(run, "adapter")) {
		ok(t, "inspect", filepath.Join(run, "adapter"), "--hash")
	}
	if c == nil {
		return -1
	}
	return c.State.Step
}

// TestStoppedRunsResume stops runs at random moments, by each of three signals, and lets them go on: whatever the moment,
// the results are those of a run that nobody stopped. The full twenty of each take -long.
func TestStoppedRunsResume(t *testing.T) {
	whole := shortRun(t)
	total := strings.Count(finish(t, whole, nil, "train", "r.toml"), "\n")
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("%d lines of progress, seed %d", total, seed)
	for _, s := range []struct {
		name   string
		signal syscall.Signal
		times  int
	}{{"SIGKILL", syscall.SIGKILL, 3}, {"SIGINT", syscall.SIGINT, 1}, {"SIGTERM", syscall.SIGTERM, 1}} {
		t.Run(s.name, func(t *testing.T) {
			times := s.times
			if *long {
				times = 20
			}
			for done := 0; done < times; {
				line, delay := rng.IntN(total), time.Duration(rng.IntN(30_000))*time.Microsecond
				if stopOnce(t, whole, s.signal, line, delay) {
					done++
				}
			}
		})
	}
}

// stopOnce stops a run some time after a line of its progress and lets it go on. False: it was through before.
func stopOnce(t *testing.T, whole string, signal syscall.Signal, line int, delay time.Duration) bool {
	t.Helper()
	dir := shortRun(t)
	s := start(t, dir, nil, "train", "r.toml")
	for range line {
		s.next()
	}
	time.Sleep(delay)
	s.Process.Signal(signal)
	code := s.end(t)
	text := s.text.String()
	step := wholeCheckpoints(t, dir)
	_, how, stopped := strings.Cut(text, "go on with: graft ")
	args := []string{"train", "r.toml", "--resume"}
	switch {
	case code == -1: // killed; an interrupt, before the program listens
	case code == exitOK && stopped:
		if args = strings.Fields(how); step < 0 {
			t.Errorf("%v after line %d: stopped without a checkpoint\n%s", signal, line, text)
		}
	case code == exitInterrupted && step < 0 && strings.HasSuffix(text, "graft: interrupted\n"):
	case code == exitOK:
		return false
	default:
		t.Errorf("%v after line %d: exit code %d, step %d\n%s", signal, line, code, step, text)
	}
	finish(t, dir, nil, args...)
	sameResults(t, signal.String(), dir, whole)
	t.Logf("%v after line %d and %v: exit code %d, checkpoint of step %d, the same results", signal, line, delay, code, step)
	return true
}

// TestThreadsDoNotMatter trains with 1, 2 and 4 threads.
func TestThreadsDoNotMatter(t *testing.T) {
	whole := shortRun(t)
	finish(t, whole, []string{"GOMAXPROCS=1"}, "train", "r.toml")
	for _, n := range []string{"2", "4"} {
		dir := shortRun(t)
		finish(t, dir, []string{"GOMAXPROCS=" + n}, "train", "r.toml")
		sameResults(t, "GOMAXPROCS "+n, dir, whole)
	}
}

// TestFullDisk lets the disk fill after so many bytes of a file.
func TestFullDisk(t *testing.T) {
	origin := newWorld(t)
	for _, c := range []struct {
		name, args string
		bytes      string
		made       string
	}{
		{"train, before the first file", "train r.toml -o new", "100", "new"},
		{"train, at a checkpoint", "train r.toml -o new", "2500", "new"},
		{"train of all weights", "train full.toml", "70000", "full"},
		{"merge", "merge run -o merged", "60000", ""},
		{"merge, at the config", "merge run -o merged", "100", ""},
		{"merge of models", "merge --method linear base base --weights 1,1 -o merged", "60000", ""},
		{"merge of models, at the config", "merge --method linear base base --weights 1,1 -o merged", "100", ""},
		{"combine", "combine run -o combined", "500", ""},
		{"resize", "resize run --rank 1 -o resized", "500", ""},
		{"export", "export run -o m.gguf", "60000", ""},
		{"export, at the keys", "export run -o m.gguf --type q8_0", "100", ""},
		{"release", "release run out", "500", ""},
		{"release of a model", "release run out --merged", "60000", ""},
		{"logits", "logits run --ids 1,2,3 --out l.safetensors", "5000", ""},
		{"copy of a recipe", "cp quickstart q.toml", "100", ""},
		{"new recipe", "init q.toml", "100", ""},
		{"random weights", "bench make base/config.json --out random", "60000", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.CopyFS(".", os.DirFS(origin)); err != nil {
				t.Fatal(err)
			}
			file("full.toml", tinyFull)(t)
			before := listing(t)
			b := bad{args: c.args, code: exitFailed, want: "file too large", made: c.made}
			s := start(t, ".", []string{fullDisk + "=" + c.bytes}, strings.Fields(c.args)...)
			code := s.end(t)
			b.judge(t, result{code: code, stderr: s.text.String()})
			b.nothingLeft(t, before, listing(t))
			if c.made == "" {
				return
			}
			for name := range listing(t) {
				if strings.HasPrefix(name, c.made+"/adapter") {
					t.Errorf("it left %s", name)
				}
			}
			finish(t, ".", nil, append(strings.Fields(c.args), "--resume")...)
		})
	}
}

// TestFullOutput writes to a device that is always full.
func TestFullOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here: ", err)
	}
	defer full.Close()
	t.Chdir(newWorld(t))
	for _, args := range []string{"ls", "ls --json", "cat quickstart", "explain", "explain method.r", "explain --schema", "explain --json", "completion bash", "version",
		"version --json", "inspect run", "inspect run --json", "check r.toml", "check r.toml --json", "check r.toml --recipe", "eval run", "eval run --json",
		"generate run -p x", "generate run -p x -p y", "generate run -p x --json", "merge run -o merged", "merge --method linear base base --weights 1,1 -o mixed", "combine run -o combined", "resize run --rank 1 -o resized",
		"export run -o m.gguf", "release run out",
		"extract merged --base base --rank 1 -o extracted", "diff base base", "diff base base --json", "train r.toml --overwrite", "train r.toml --overwrite --json", "help", "train --help",
		"logits run --ids 1 --out l.safetensors", "bench gemm --shape 2x2x2 --threads 1 --mode f32 --time 1ms"} {
		var stderr strings.Builder
		code := Main(append([]string{"graft"}, strings.Fields(args)...), strings.NewReader(""), full, io.Writer(&stderr))
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if last := lines[len(lines)-1]; code != exitFailed || !strings.HasPrefix(last, "graft: ") || !strings.HasSuffix(last, "no space left on device") {
			t.Errorf("graft %s > /dev/full = %d, want 1 and a line\n%s", args, code, stderr.String())
		}
	}
}
