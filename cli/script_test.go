package cli

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/checkpoint/gguf"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script: one file for each command, which reads like a page of a manual. Each begins in a
// folder with the tiny world: base/, r.toml, train.jsonl, eval.jsonl, and run/, trained.
func TestScripts(t *testing.T) {
	origin := newWorld(t)
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: func(e *testscript.Env) error { return os.CopyFS(e.WorkDir, os.DirFS(origin)) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "json": jsonKeys, "plain": plain, "near": near, "script": shellScript, "sametensors": sameTensors,
		},
		RequireExplicitExec: true,
	})
}

// TestEveryCommandHasAScript holds the folder of scripts to the list of commands.
func TestEveryCommandHasAScript(t *testing.T) {
	for _, c := range (&env{}).commands() {
		if _, err := os.Stat("testdata/script/" + c.Name + ".txtar"); err != nil {
			t.Error(err)
		}
	}
}

// exits runs a program that must end with a code: exits 2 graft ….
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGUMENT…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err = ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// jsonKeys checks that the output is one JSON value and that it, or the first of its elements, has keys: json KEY….
func jsonKeys(ts *testscript.TestScript, neg bool, args []string) {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &v); err != nil {
		ts.Fatalf("stdout is no JSON: %v", err)
	}
	if list, ok := v.([]any); ok && len(list) > 0 {
		v = list[0]
	}
	o, _ := v.(map[string]any)
	for _, key := range args {
		if _, ok := o[key]; ok == neg {
			ts.Fatalf("key %q: there %v, want %v", key, ok, !neg)
		}
	}
}

// plain checks that neither output has escape sequences or carriage returns.
func plain(ts *testscript.TestScript, _ bool, _ []string) {
	for _, name := range []string{"stdout", "stderr"} {
		if strings.ContainsAny(ts.ReadFile(name), "\x1b\r") {
			ts.Fatalf("%s has control characters", name)
		}
	}
}

// near compares the logits of two files: near A B. They may differ by the rounding of products of tens of terms.
func near(ts *testscript.TestScript, neg bool, args []string) {
	const tolerance = 1e-5
	a, b := logitsIn(ts, args[0]), logitsIn(ts, args[1])
	if len(a) != len(b) {
		ts.Fatalf("%d logits and %d", len(a), len(b))
	}
	worst := 0.0
	for i := range a {
		worst = max(worst, math.Abs(float64(a[i])-float64(b[i])))
	}
	if worst > tolerance != neg {
		ts.Fatalf("the logits differ by at most %g", worst)
	}
}

func logitsIn(ts *testscript.TestScript, name string) []float32 {
	c, err := checkpoint.OpenFile(ts.MkAbs(name))
	ts.Check(err)
	defer c.Close()
	v, err := c.Floats("logits")
	ts.Check(err)
	return v
}

// sameTensors compares the tensors of two GGUF files, byte by byte: sametensors A B.
func sameTensors(ts *testscript.TestScript, neg bool, args []string) {
	var files [2]*gguf.File
	for i := range files {
		f, err := gguf.Parse([]byte(ts.ReadFile(args[i])))
		ts.Check(err)
		files[i] = f
	}
	if reflect.DeepEqual(files[0].Tensors, files[1].Tensors) == neg {
		ts.Fatalf("the tensors of %s and %s are the same: %v", args[0], args[1], neg)
	}
}

// shellScript gives the output to a shell that only reads it: script bash -n. Without the shell it is skipped.
func shellScript(ts *testscript.TestScript, _ bool, args []string) {
	if _, err := exec.LookPath(args[0]); err != nil {
		ts.Logf("no %s here to read the script", args[0])
		return
	}
	c := exec.Command(args[0], args[1:]...)
	c.Stdin = strings.NewReader(ts.ReadFile("stdout"))
	if out, err := c.CombinedOutput(); err != nil {
		ts.Fatalf("%v: %s", err, out)
	}
}
