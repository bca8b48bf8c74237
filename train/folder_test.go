package train

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// TestOpenRefuses is the table of folders that no run may use, with the one line that says so.
func TestOpenRefuses(t *testing.T) {
	run := func(t *testing.T, dir string) {
		_, j := start(t, dir, Fresh)
		j.Steps = 24
		mustRun(t, t.Context(), j)
	}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		id      func(*Identity)
		how     Opening
		want    string // DIR stands for the folder
	}{
		{"a run is not overwritten unasked", run, nil, Fresh, "train: DIR: the folder holds a run with 24 of 24 steps; resume it, overwrite it, or choose another folder"},
		{"a folder of other things is not used", write("notes.txt", "x"), nil, Fresh, "train: DIR: the folder exists and holds no run but notes.txt, want an empty or new folder"},
		{"a folder of other things is not overwritten", write("notes.txt", "x"), nil, Overwrite, "train: DIR: the folder exists and holds no run but notes.txt, want an empty or new folder"},
		{"another recipe is not resumed", run, func(id *Identity) { id.Recipe = []byte("[train]\nlearning_rate = 0.5\nmax_steps = 24\nseed = 3\n") }, Resume,
			"train: DIR: resume with another recipe: train.learning_rate is 0.5, the run has 0.05; train.seed is 3, the run has none"},
		{"another base is not resumed", run, func(id *Identity) { id.BaseHash = "ffff" }, Resume,
			`train: DIR: resume with another base: hash "ffff", the run has 0123456789ab…`},
		{"a broken environment is named", func(t *testing.T, dir string) { run(t, dir); write(environmentFile, "{")(t, dir) }, nil, Resume,
			"train: DIR/environment.json: unexpected end of JSON input"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.prepare(t, dir)
			id := identity
			if c.id != nil {
				c.id(&id)
			}
			f, err := Open(dir, id, c.how)
			if want := strings.ReplaceAll(c.want, "DIR", dir); err == nil || err.Error() != want {
				t.Errorf("Open() = %v, %v, want\n%s", f, err, want)
			}
		})
	}
}

func write(name, content string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	f, err := Open(dir, identity, Fresh)
	if err != nil {
		t.Fatal(err)
	}
	if !lock(f.lock) {
		t.Skip("this system has no locks")
	}
	if _, err := Open(dir, identity, Resume); err == nil || !strings.HasSuffix(err.Error(), "another process is training in this folder") {
		t.Errorf("Open() of a folder in use = %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, err = Open(dir, identity, Resume)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestOverwriteStartsAnew(t *testing.T) {
	dir := t.TempDir()
	_, j := start(t, dir, Fresh)
	mustRun(t, t.Context(), j)
	first := read(t, dir, metricsFile)
	write("mine.txt", "kept")(t, dir)
	_, j = start(t, dir, Overwrite)
	if _, err := os.Stat(filepath.Join(dir, adapterDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the old adapter is still there")
	}
	mustRun(t, t.Context(), j)
	if !bytes.Equal(read(t, dir, metricsFile), first) {
		t.Error("the second run differs from the first")
	}
	read(t, dir, "mine.txt")
}

func TestARunThatFailedAtOnceIsNotInTheWay(t *testing.T) {
	dir := t.TempDir()
	_, j := start(t, dir, Fresh)
	j.Optimizer = "adamv"
	if _, err := Run(t.Context(), j); err == nil {
		t.Fatal("an unknown optimizer was accepted")
	}
	_, j = start(t, dir, Fresh)
	mustRun(t, t.Context(), j)
}

func TestSummarize(t *testing.T) {
	dir := t.TempDir()
	if _, err := Summarize(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Summarize() of an empty folder = %v, want fs.ErrNotExist", err)
	}
	m, j := start(t, dir, Fresh)
	mustRun(t, t.Context(), j)
	s := must(Summarize(dir))(t)
	if s.Latest.State.Step != 24 || len(s.Sessions) != 1 || len(s.Curves.Losses) != 5 || s.Adapter == "" || s.BaseHash != identity.BaseHash || s.Steps[len(s.Steps)-1] != 24 {
		t.Errorf("Summarize() = %+v", s)
	}
	want := m.values()
	fresh := newBigram(13, 4)
	if err := s.Latest.Load(NewParams(fresh.params())); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(fresh.values(), want) {
		t.Error("the checkpoint's numbers are not the trained ones")
	}
	other := newBigram(13, 3)
	err := s.Latest.Load(NewParams(other.params())[:1])
	for _, want := range []string{`tensor "layer.lora_A.weight" is F32 [13 4], want F32 [13 3]`, `tensor "layer.lora_B.weight" is unexpected`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load() into other parameters = %v, want %q in it", err, want)
		}
	}
}

func TestResumeOfACompleteRunTrainsNothing(t *testing.T) {
	dir := t.TempDir()
	_, j := start(t, dir, Fresh)
	mustRun(t, t.Context(), j)
	first := snapshot(t, dir)
	_, j = start(t, dir, Resume)
	j.Report = func(e Event) {
		if e.Kind == Stepped {
			t.Errorf("step %d was done again", e.Step)
		}
	}
	mustRun(t, t.Context(), j)
	if got := snapshot(t, dir); got != first {
		t.Errorf("metrics, checkpoint or adapter changed:\n%s\nwant\n%s", got, first)
	}
}

// snapshot is what resuming must not change.
// A process may be killed after its last checkpoint and before the curve that belongs to it.
func TestResumeDrawsTheCurveThatWasNotDrawn(t *testing.T) {
	dir := t.TempDir()
	_, j := start(t, dir, Fresh)
	mustRun(t, t.Context(), j)
	want := read(t, dir, curveFile)
	if err := os.Remove(filepath.Join(dir, curveFile)); err != nil {
		t.Fatal(err)
	}
	_, j = start(t, dir, Resume)
	mustRun(t, t.Context(), j)
	if !bytes.Equal(read(t, dir, curveFile), want) {
		t.Error("the curve differs from the uninterrupted run's")
	}
}

func snapshot(t *testing.T, dir string) string {
	return string(read(t, dir, metricsFile)) + string(read(t, dir, adapterDir, "adapter.json")) + string(read(t, dir, checkpointDir, "step-24", sumsFile))
}

// TestDamagedCheckpointIsLeftAside damages the newest checkpoint in many ways; the run resumes from the one before.
func TestDamagedCheckpointIsLeftAside(t *testing.T) {
	whole := t.TempDir()
	_, j := start(t, whole, Fresh)
	mustRun(t, t.Context(), j)
	damages := map[string]func(t *testing.T, dir string){
		"an empty folder": func(t *testing.T, dir string) {
			if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o777)); err != nil {
				t.Fatal(err)
			}
		},
		"sums that name nothing": write(sumsFile, ""),
		"sums that are no sums":  write(sumsFile, "hello\n"),
	}
	for _, name := range []string{trainableFile, optimizerFile, stateFile, sumsFile} {
		damages[name+" missing"] = func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		damages[name+" cut short"] = func(t *testing.T, dir string) {
			b := read(t, dir, name)
			write(name, string(b[:len(b)*3/4]))(t, dir)
		}
		damages[name+" with a flipped bit"] = func(t *testing.T, dir string) {
			b := read(t, dir, name)
			b[len(b)/2] ^= 1
			write(name, string(b))(t, dir)
		}
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(dir, adapterDir)); err != nil {
				t.Fatal(err)
			}
			damage(t, stepDir(dir, 24))
			_, j := start(t, dir, Resume)
			var from, warning string
			j.Report = func(e Event) {
				switch e.Kind {
				case Resumed:
					from = filepath.Base(e.Path)
				case Warned:
					warning = e.Message
				}
			}
			mustRun(t, t.Context(), j)
			if from != "step-20" || !strings.HasPrefix(warning, "left aside: train: ") {
				t.Errorf("resumed from %q with the warning %q, want step-20 and a warning", from, warning)
			}
			same(t, "resumed", dir, whole)
		})
	}
}

func TestResumeWithoutACheckpointStarts(t *testing.T) {
	whole := t.TempDir()
	_, j := start(t, whole, Fresh)
	mustRun(t, t.Context(), j)
	for _, keep := range [][]string{nil, {recipeFile}, {recipeFile, environmentFile, metricsFile, timingFile}} {
		t.Run(fmt.Sprint("with ", keep), func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range keep {
				write(name, string(read(t, whole, name)))(t, dir)
			}
			_, j := start(t, dir, Resume)
			mustRun(t, t.Context(), j)
			same(t, "started", dir, whole)
		})
	}
}

func TestResumeWarnsOfAnotherKernel(t *testing.T) {
	dir := t.TempDir()
	_, j := start(t, dir, Fresh)
	mustRun(t, t.Context(), j)
	id := identity
	id.Session.Kernel = "avx9"
	f, err := Open(dir, id, Resume)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(f.warnings) != 1 || !strings.HasPrefix(f.warnings[0], "the run used kernel go in mode f32, this session uses avx9 in mode f32") {
		t.Errorf("warnings %q, want one about the kernel", f.warnings)
	}
	env, err := readEnvironment(dir)
	if err != nil || len(env.Sessions) != 2 || env.Sessions[1].ResumedFrom != 24 {
		t.Errorf("environment %+v, %v, want two sessions, the second resumed from step 24", env, err)
	}
}

func TestLogsThatLostLines(t *testing.T) {
	dir := t.TempDir()
	_, j := start(t, dir, Fresh)
	mustRun(t, t.Context(), j)
	write(metricsFile, "{}\n")(t, dir)
	_, j = start(t, dir, Resume)
	_, err := Run(t.Context(), j)
	if err == nil || !strings.Contains(err.Error(), "metrics.jsonl has 3 bytes, want at least ") {
		t.Errorf("Run() = %v, want an error about the short file", err)
	}
}

// TestFailedSaveKeepsTheRun stands for a disk that is full when the result is written.
func TestFailedSaveKeepsTheRun(t *testing.T) {
	dir := t.TempDir()
	_, j := start(t, dir, Fresh)
	j.Save = func(dir string) error {
		write("half", "x")(t, dir)
		return errors.New("peft: no space left on device")
	}
	if _, err := Run(t.Context(), j); err == nil || strings.Contains(err.Error(), "\n") || !strings.HasSuffix(err.Error(), "no space left on device") {
		t.Errorf("Run() = %v, want the error of Save in one line", err)
	}
	for _, e := range must(os.ReadDir(dir))(t) {
		if !slices.Contains(contents, e.Name()) || e.Name() == adapterDir {
			t.Errorf("%s was left behind", e.Name())
		}
	}
	_, j = start(t, dir, Resume)
	if r := mustRun(t, t.Context(), j); r.Adapter == "" {
		t.Error("the resumed run wrote no adapter")
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestDifferencesOfRecipes(t *testing.T) {
	old := "a = 1\n[m]\nr = 8 \n# c = 4\n[[d.s]]\np = \"x = y\"\n"
	for _, c := range []struct{ name, now, want string }{
		{"comments and spaces do not count", "a=1\n[m]\nr=8\n[[d.s]]\np = \"x = y\"\n", "every key is the same, so the rows are not"},
		{"a value", "a = 1\n[m]\nr = 16\n[[d.s]]\np = \"x = y\"\n", "m.r is 16, the run has 8"},
		{"a key that is gone", "[m]\nr = 8\n[[d.s]]\np = \"x = y\"\n", "a is absent, the run has 1"},
		{"many", "b = 1\nc = 1\n", `a is absent, the run has 1; b is 1, the run has none; c is 1, the run has none; 2 more keys differ`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := differences([]byte(old), []byte(c.now)); got != c.want {
				t.Errorf("differences() = %q, want %q", got, c.want)
			}
		})
	}
}

func TestTensorBoardRecords(t *testing.T) {
	dir := t.TempDir()
	clock := func() time.Time { return time.Unix(1700000000, 5e8) }
	b, err := newTensorBoard(dir, 7, clock)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.scalars(9, Metric{"train/loss", 2.5}, Metric{"eval/loss", 3}); err != nil {
		t.Fatal(err)
	}
	b.file.Close()
	second, err := newTensorBoard(dir, 9, clock)
	if err != nil {
		t.Fatal(err)
	}
	second.file.Close()
	names := must(filepath.Glob(filepath.Join(dir, "*")))(t)
	if len(names) != 2 || filepath.Base(names[0]) != "events.out.tfevents.1700000000.000.graft" {
		t.Fatalf("files %v, want two", names)
	}
	events := records(t, read(t, names[0]))
	if len(events) != 3 {
		t.Fatalf("%d records, want 3", len(events))
	}
	for i, want := range []string{"wall 1.7000000005e+09 step 0 version brain.Event:2", "wall 1.7000000005e+09 step 7 session 1", "wall 1.7000000005e+09 step 9 train/loss 2.5 eval/loss 3"} {
		if got := describe(t, events[i]); got != want {
			t.Errorf("record %d is %q, want %q", i, got, want)
		}
	}
}

// records splits an event file and checks its sums with the definition, bit by bit.
func records(t *testing.T, b []byte) (events [][]byte) {
	t.Helper()
	sum := func(b []byte) uint32 {
		c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
		return (c>>15 | c<<17) + 0xa282ead8
	}
	for len(b) > 0 {
		n := binary.LittleEndian.Uint64(b)
		e := b[12 : 12+n]
		if binary.LittleEndian.Uint32(b[8:]) != sum(b[:8]) || binary.LittleEndian.Uint32(b[12+n:]) != sum(e) {
			t.Fatal("a record's sum is wrong")
		}
		events, b = append(events, e), b[16+n:]
	}
	return events
}

// describe spells an Event out.
func describe(t *testing.T, e []byte) string {
	var words []string
	fields(t, e, func(n protowire.Number, b []byte, v uint64) {
		switch n {
		case 1:
			words = append(words, "wall", fmt.Sprint(math.Float64frombits(v)))
		case 2:
			words = append(words, "step", fmt.Sprint(v))
		case 3:
			words = append(words, "version", string(b))
		case 5:
			fields(t, b, func(_ protowire.Number, b []byte, _ uint64) {
				fields(t, b, func(n protowire.Number, b []byte, v uint64) {
					if n == 1 {
						words = append(words, string(b))
					} else {
						words = append(words, fmt.Sprint(math.Float32frombits(uint32(v))))
					}
				})
			})
		case 7:
			fields(t, b, func(_ protowire.Number, _ []byte, v uint64) { words = append(words, "session", fmt.Sprint(v)) })
		}
	})
	return strings.Join(words, " ")
}

func fields(t *testing.T, m []byte, f func(n protowire.Number, b []byte, v uint64)) {
	t.Helper()
	for len(m) > 0 {
		n, kind, k := protowire.ConsumeTag(m)
		if k < 0 {
			t.Fatal("bad tag")
		}
		m = m[k:]
		var b []byte
		var v uint64
		switch kind {
		case protowire.BytesType:
			b, k = protowire.ConsumeBytes(m)
		case protowire.Fixed64Type:
			v, k = protowire.ConsumeFixed64(m)
		case protowire.Fixed32Type:
			var w uint32
			w, k = protowire.ConsumeFixed32(m)
			v = uint64(w)
		default:
			v, k = protowire.ConsumeVarint(m)
		}
		if k < 0 {
			t.Fatal("bad field")
		}
		f(n, b, v)
		m = m[k:]
	}
}

func TestCurveIsAWellFormedDrawing(t *testing.T) {
	for _, c := range []Curves{
		{Steps: []float64{1, 2, 3}, Losses: []float64{3, 2, 2.5}, EvalSteps: []float64{2}, EvalLosses: []float64{2.2}},
		{Steps: []float64{1}, Losses: []float64{3}},
		{EvalSteps: []float64{0, 4}, EvalLosses: []float64{2, 1}},
	} {
		var a, b bytes.Buffer
		if err := errors.Join(c.WriteSVG(&a), c.WriteSVG(&b)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Error("the same curves are drawn differently")
		}
		d := xml.NewDecoder(&a)
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestReadCurves(t *testing.T) {
	for _, c := range []struct {
		name, src, err string
		losses, evals  int
	}{
		{"lines of both kinds", "{\"step\":1,\"loss\":2}\n{\"step\":1,\"eval_loss\":3,\"best\":true}\n", "", 1, 1},
		{"a last line cut by a kill is ignored", "{\"step\":1,\"loss\":2}\n{\"step\":2,\"lo", "", 1, 0},
		{"a broken line within is an error", "{\"step\":1,\"loss\":2}\n{\"st\n{}\n", "train: metrics.jsonl:2: ", 1, 0},
		{"nothing", "", "", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := ReadCurves(strings.NewReader(c.src))
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.HasPrefix(err.Error(), c.err)) {
				t.Errorf("ReadCurves() = %v, want %q", err, c.err)
			}
			if len(v.Losses) != c.losses || len(v.EvalLosses) != c.evals {
				t.Errorf("ReadCurves() = %+v, want %d losses and %d evaluations", v, c.losses, c.evals)
			}
		})
	}
}

// FuzzState reads any bytes as the two small files of a checkpoint and as metrics.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"format":1,"step":3,"plateau":{"scale":1,"best":null}}`))
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"step":1e99,"interval":[]}`))
	f.Add([]byte("{\"step\":1,\"loss\":2}\n{\"step\":2,\"eval_loss\":3}\n{"))
	f.Add([]byte(strings.Repeat("0", 64) + "  state.json\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		var s State
		if err := s.decode(src); err == nil && s.Format != stateFormat {
			t.Errorf("a state of format %d was accepted", s.Format)
		}
		sums, err := parseSums(sumsFile, src)
		for name, hash := range sums {
			if len(hash) != 64 || err != nil {
				t.Errorf("%s has the sum %q, %v", name, hash, err)
			}
		}
		c, _ := ReadCurves(bytes.NewReader(src))
		if len(c.Steps) != len(c.Losses) || len(c.EvalSteps) != len(c.EvalLosses) {
			t.Errorf("curves of different lengths: %+v", c)
		}
	})
}
