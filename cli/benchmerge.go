package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/meminfo"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/peft"
	"github.com/urfave/cli/v2"
)

func (e *env) benchMergeCommand() *cli.Command {
	return &cli.Command{Name: "merge", Usage: "time to fold an adapter into its base, beside that of a copy", ArgsUsage: "RUN|ADAPTER|MODEL",
		UsageText:   "graft bench merge runs/first\ngraft bench merge models/llama --rank 16 --repeat 5 --json",
		Description: "Folding and copying the base's files take turns; both end when the system says that all is on the disk. Figures are medians.",
		Flags: append(modelFlags(), jsonFlag(), rankFlag(),
			&cli.StringFlag{Name: "dir", Usage: "`folder` in which to write and delete, instead of the system's for temporary files"},
			&cli.BoolFlag{Name: "no-hash", Usage: "leave hashes of the inputs out of merge.json"},
			&cli.IntFlag{Name: "repeat", Value: 3, Usage: "times that each is measured"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of --rank"},
			&cli.StringFlag{Name: "cpuprofile", Usage: "write a CPU profile to `file`"}),
		Action: e.benchMerge}
}

// mergeBench is what graft bench merge measures.
type mergeBench struct {
	Base      string  `json:"base"`
	Adapter   string  `json:"adapter"`
	Bytes     int64   `json:"bytes"` // of the base's weights
	Fold      float64 `json:"fold_seconds"`
	Copy      float64 `json:"copy_seconds"`
	Ratio     float64 `json:"ratio"` // fold to copy
	Anonymous int64   `json:"memory_anonymous"`
	Mapped    int64   `json:"memory_mapped"`
}

func (e *env) benchMerge(c *cli.Context) error {
	path, err := one(c, "run, adapter or model")
	if err != nil {
		return err
	}
	repeat := c.Int("repeat")
	if repeat < 1 {
		return usagef("bench merge: repeat is %d, want at least 1", repeat)
	}
	s, err := openRanked(c, path)
	if err != nil {
		return err
	}
	defer s.close()
	m, ok := s.adapter.(peft.Merger)
	if !ok {
		return usagef("bench merge: %s has no adapter that can be folded, want one, or --rank", path)
	}
	dir, err := os.MkdirTemp(c.String("dir"), "graft-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	profile, err := openCPUProfile(c.String("cpuprofile"))
	if err != nil {
		return err
	}
	b := &mergeBench{Base: s.path, Adapter: adapterName(c, s), Bytes: s.src.SizeBytes()}
	var folds, copies []time.Duration
	profile.start()
	for range repeat {
		took, err := foldOnce(c, s, m, filepath.Join(dir, "folded"))
		if err != nil {
			return err
		}
		folds = append(folds, took)
		u := meminfo.Read()
		b.Anonymous, b.Mapped = max(b.Anonymous, u.Anonymous), max(b.Mapped, u.Mapped)
		if took, err = copyOnce(s.src, filepath.Join(dir, "copied")); err != nil {
			return err
		}
		copies = append(copies, took)
	}
	if err := profile.stop(); err != nil {
		return err
	}
	b.Fold, b.Copy = round3(median(folds).Seconds()), round3(median(copies).Seconds())
	b.Ratio = round3(median(folds).Seconds() / median(copies).Seconds())
	if c.Bool("json") {
		return e.printJSON(b)
	}
	t := newPairs(e.stdout)
	t.add("base", fmt.Sprintf("%s, %s", b.Base, bytesText(b.Bytes)))
	t.add("adapter", b.Adapter)
	t.add("fold", fmt.Sprintf("%.2f s", b.Fold))
	t.add("copy", fmt.Sprintf("%.2f s; folding takes %.2f times as long", b.Copy, b.Ratio))
	t.add("memory", fmt.Sprintf("%s of its own, %s mapped", bytesText(b.Anonymous), bytesText(b.Mapped)))
	return t.flush()
}

// foldOnce folds the adapter into a folder and deletes that.
func foldOnce(c *cli.Context, s *subject, m peft.Merger, out string) (time.Duration, error) {
	start := time.Now()
	job := merge.Job{Base: s.src, Deltas: m.Deltas(), Ties: peft.Ties(s.model), Out: out, NoHash: c.Bool("no-hash"), Version: version()}
	s.withHead(&job)
	_, err := merge.Fold(c.Context, job)
	return time.Since(start), errors.Join(err, os.RemoveAll(out))
}

// copyOnce copies the files of the weights, syncs them and deletes the copies.
func copyOnce(src *checkpoint.Checkpoint, out string) (time.Duration, error) {
	if err := os.Mkdir(out, 0o777); err != nil {
		return 0, err
	}
	files := map[string]bool{}
	start := time.Now()
	for _, info := range src.Stored() {
		if !files[info.File] {
			files[info.File] = true
			if err := copyFile(filepath.Join(out, info.File), filepath.Join(src.Path(), info.File)); err != nil {
				return 0, errors.Join(err, os.RemoveAll(out))
			}
		}
	}
	return time.Since(start), os.RemoveAll(out)
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
