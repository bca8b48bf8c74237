//go:build linux || darwin

package cli

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/merge"
)

// TestKilledMerges kills merges at random moments: what lies under the output's name is whole or not there, and the next run
// clears away what the killed one left. Two outputs of one pass may end apart; each is whole. The full thirty take -long.
func TestKilledMerges(t *testing.T) {
	t.Chdir(newWorld(t))
	file("two.toml", "merge_method = \"linear\"\nmodels = [{ model = \"base\" }, { model = \"base\" }]\nparameters = { weight = 0.5 }\n[[outputs]]\nout = \"one\"\n[[outputs]]\nout = \"two\"\n")(t)
	times := 4
	if *long {
		times = 30
	}
	for _, c := range []struct {
		args string
		outs []string
	}{{"merge run -o one", []string{"one"}}, {"merge two.toml", []string{"one", "two"}}, {"combine run -o one", []string{"one"}},
		{"release run one --merged", []string{"one"}}, {"export run -o one.gguf --type q4_k", []string{"one.gguf"}}} {
		clearAway(t, c.outs)
		begin := time.Now()
		finish(t, ".", nil, strings.Fields(c.args)...)
		took := time.Since(begin)
		want := hashes(t, c.outs)
		rng := rand.New(rand.NewPCG(uint64(begin.UnixNano()), 0))
		for range times {
			clearAway(t, c.outs)
			delay := time.Duration(rng.Int64N(int64(took)))
			s := start(t, ".", nil, strings.Fields(c.args)...)
			time.Sleep(delay)
			s.Process.Signal(syscall.SIGKILL)
			code := s.end(t)
			for i, h := range hashes(t, c.outs) {
				if h != "" && h != want[i] {
					t.Errorf("graft %s, killed after %v (exit code %d): %s is there and not whole", c.args, delay, code, c.outs[i])
				}
			}
			clearAway(t, c.outs)
			finish(t, ".", nil, strings.Fields(c.args)...)
			entries, err := os.ReadDir(".")
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if atomicfile.IsTemp(e.Name()) {
					t.Errorf("graft %s leaves %s of the run that was killed after %v", c.args, e.Name(), delay)
				}
			}
		}
	}
}

func clearAway(t *testing.T, outs []string) {
	for _, o := range outs {
		remove(o)(t)
	}
}

// hashes are those of the outputs' tensors, with what else must be there; "" of one that is not there.
func hashes(t *testing.T, outs []string) []string {
	t.Helper()
	list := make([]string, len(outs))
	for i, o := range outs {
		st, err := os.Stat(o)
		if err != nil {
			continue
		}
		if !st.IsDir() {
			b, err := os.ReadFile(o)
			if err != nil {
				t.Fatal(err)
			}
			list[i] = string(b)
			continue
		}
		list[i] = ok(t, "inspect", o, "--hash", "--json").stdout
		if !exists(filepath.Join(o, merge.RecordFile)) && !exists(filepath.Join(o, "adapter_config.json")) {
			list[i] += "no record"
		}
	}
	return list
}
