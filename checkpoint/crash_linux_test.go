package checkpoint

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/graft-ml/graft/internal/atomicfile"
)

// The tests of this file run the test program again as a writer that meets its end: WRITER says how, WRITER_DIR where it writes.
const writerMode, writerDir = "GRAFT_TEST_WRITER", "GRAFT_TEST_WRITER_DIR"

func TestMain(m *testing.M) {
	if mode := os.Getenv(writerMode); mode != "" {
		if err := writer(mode, os.Getenv(writerDir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// threeShards are entries that WriteShards gives a shard each; the one numbered stop writes half of its bytes, says so and waits.
func threeShards(stop int) (entries []Entry) {
	for i := range 3 {
		data := make([]byte, 4000)
		e := FromBytes(fmt.Sprintf("t%d", i), U8, []int{len(data)}, data)
		if i == stop {
			e.Fill = func(w Section) error {
				if _, err := w.Write(data[:2000]); err != nil {
					return err
				}
				fmt.Println("half")
				os.Stdin.Read(make([]byte, 1)) // ends when the test does
				return errors.New("nobody killed the writer")
			}
		}
		entries = append(entries, e)
	}
	return entries
}

// shardSize gives each of threeShards a file of its own.
const shardSize = 5000

func writer(mode, dir string) error {
	var stop int
	opts := ShardOptions{MaxShardSize: shardSize}
	switch {
	case mode == "full": // no file may grow beyond this, which is what a full disk looks like
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 4200, Max: 4200}); err != nil {
			return err
		}
		entries := append(threeShards(-1), FromBytes("large", U8, []int{4900}, make([]byte, 4900)))
		_, err := WriteShards(dir, entries, opts)
		return errors.Join(err, Write(filepath.Join(dir, "old.safetensors"), entries, nil))
	case scan1(mode, "shard %d", &stop):
		_, err := WriteShards(dir, threeShards(stop), opts)
		return err
	case scan1(mode, "folder %d", &stop):
		return atomicfile.WriteDir(filepath.Join(dir, "model"), true, func(temp string) error {
			_, err := WriteShards(temp, threeShards(stop), opts)
			return err
		})
	}
	return fmt.Errorf("writer: mode %q", mode)
}

func scan1(s, format string, n *int) bool {
	_, err := fmt.Sscanf(s, format, n)
	return err == nil
}

// start runs a writer.
func start(t *testing.T, mode, dir string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), writerMode+"="+mode, writerDir+"="+dir)
	return cmd
}

// kill runs a writer up to the middle of a tensor and kills it there.
func kill(t *testing.T, mode, dir string) {
	cmd := start(t, mode, dir)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err := errors.Join(err, cmd.Process.Kill()); err != nil || line != "half\n" {
		t.Fatalf("writer said %q: %v", line, err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the writer survived")
	}
}

// names lists a folder: what can be seen, and the temporaries.
func names(t *testing.T, dir string) (seen, temps []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if atomicfile.IsTemp(e.Name()) {
			temps = append(temps, e.Name())
			continue
		}
		seen = append(seen, e.Name())
	}
	return seen, temps
}

func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old.safetensors")
	if err := os.WriteFile(old, []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	message, err := start(t, "full", dir).CombinedOutput()
	if err == nil || strings.Count(string(message), "file too large") != 2 {
		t.Errorf("writer: %v: %s", err, message)
	}
	if seen, temps := names(t, dir); !slices.Equal(seen, []string{"old.safetensors"}) || len(temps) > 0 {
		t.Errorf("left %q and %q, want only what was there before", seen, temps)
	}
	if b, err := os.ReadFile(old); err != nil || string(b) != "old" {
		t.Errorf("the old file is %q: %v", b, err)
	}
}

func TestKilledWriter(t *testing.T) {
	for stop := range 3 {
		t.Run(fmt.Sprintf("shard %d", stop), func(t *testing.T) {
			dir := t.TempDir()
			kill(t, fmt.Sprintf("shard %d", stop), dir)
			seen, temps := names(t, dir)
			if len(seen) != stop || len(temps) != 1 {
				t.Errorf("left %q and %q, want %d whole shards and a temporary", seen, temps, stop)
			}
			for _, name := range seen {
				c, err := OpenFile(filepath.Join(dir, name))
				if err != nil {
					t.Errorf("half a shard can be seen: %v", err)
					continue
				}
				c.Close()
			}
			if _, err := Open(dir); err == nil || HasWeights(os.DirFS(dir)) {
				t.Errorf("shards without an index count as weights: %v", err)
			}
			// The next writer of the same shard clears the leftover away.
			if err := Write(filepath.Join(dir, fmt.Sprintf("model-%05d-of-00003.safetensors", stop+1)), threeShards(-1)[:1], nil); err != nil {
				t.Fatal(err)
			}
			if seen, temps := names(t, dir); len(seen) != stop+1 || len(temps) != 0 {
				t.Errorf("left %q and %q", seen, temps)
			}
		})
		t.Run(fmt.Sprintf("folder with shard %d", stop), func(t *testing.T) {
			dir := t.TempDir()
			model := filepath.Join(dir, "model")
			old := FromFloats("old", []int{1}, []float32{1})
			write := func() error {
				return atomicfile.WriteDir(model, true, func(temp string) error {
					_, err := WriteShards(temp, []Entry{old}, ShardOptions{})
					return err
				})
			}
			if err := write(); err != nil {
				t.Fatal(err)
			}
			kill(t, fmt.Sprintf("folder %d", stop), dir)
			c, err := Open(model)
			if err != nil || !slices.Equal(c.Names(), []string{"old"}) {
				t.Fatalf("the old model is damaged: %v", err)
			}
			c.Close()
			if err := write(); err != nil {
				t.Fatal(err)
			}
			if seen, temps := names(t, dir); !slices.Equal(seen, []string{"model"}) || len(temps) != 0 {
				t.Errorf("left %q and %q", seen, temps)
			}
		})
	}
}
