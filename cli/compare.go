package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/graft-ml/graft/report"
	"github.com/urfave/cli/v2"
)

func (e *env) compareCommand() *cli.Command {
	return &cli.Command{
		Name:      "compare",
		Usage:     "set the held-out losses of runs side by side, and say which differences chance may explain",
		ArgsUsage: "RUN…",
		UsageText: "graft compare runs/r8 runs/r16 runs/dora",
		Description: "Every run is compared with the first, example by example: the same held-out rows are drawn again and again for both\n" +
			"(paired bootstrap). p is the probability of such a difference between equally good runs.",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usagef("compare: no arguments, want one or more run folders")
			}
			return e.compare(c, c.Args().Slice())
		},
	}
}

func (e *env) compare(c *cli.Context, dirs []string) error {
	var runs []*report.Run
	for _, dir := range dirs {
		r, err := readRun(dir)
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	const resamples = 1000
	list, err := report.Compare(runs, resamples, 0)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return e.printJSON(list)
	}
	rows := [][]string{{"run", "loss", "95 % interval", "base", "difference", "95 % interval", "p"}}
	for i, s := range list {
		row := []string{dirs[i], fmt.Sprintf("%.4f", s.Loss), fmt.Sprintf("%.4f to %.4f", s.Low, s.High), fmt.Sprintf("%.4f", s.BaseLoss)}
		switch d := s.Difference; {
		case d != nil:
			row = append(row, fmt.Sprintf("%+.4f", d.Value), fmt.Sprintf("%+.4f to %+.4f", d.Low, d.High), fmt.Sprintf("%.3f", d.PValue))
		case s.Note != "":
			row = append(row, s.Note)
		}
		rows = append(rows, row)
	}
	return columns(e.stdout, rows)
}

// readRun reads what the report of a run keeps.
func readRun(dir string) (*report.Run, error) {
	name := filepath.Join(dir, report.JSONFile)
	src, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("compare: %s has no %s; graft eval %s writes it", dir, report.JSONFile, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	r, err := report.ParseRun(name, src)
	if err != nil {
		return nil, err
	}
	name = filepath.Join(dir, filepath.FromSlash(report.ExamplesFile))
	if src, err = os.ReadFile(name); err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	if r.Examples, err = report.ReadExamples(name, bytes.NewReader(src)); err != nil {
		return nil, err
	}
	return r, nil
}
