package cli

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/op"
	"github.com/urfave/cli/v2"
)

func (e *env) logitsCommand() *cli.Command {
	return &cli.Command{
		Name:      "logits",
		Usage:     "write the logits of given token ids, for comparisons with other programs",
		ArgsUsage: "MODEL|ADAPTER|RUN",
		UsageText: `graft logits models/llama --ids "1,2,3;4,5" --out logits.safetensors` + "\n" + `graft logits models/llama --adapter runs/first/adapter --ids "1,2,3" --compute f32 --out logits.safetensors`,
		Flags: append(modelFlags(), quantizeFlag(), outFlag("safetensors `file` to write"),
			&cli.StringFlag{Name: "ids", Usage: "token ids; commas between tokens, semicolons between sequences"}),
		Action: func(c *cli.Context) error {
			path, err := one(c, "model, adapter or run")
			if err != nil {
				return err
			}
			rows, err := parseIDs(c.String("ids"))
			if err != nil {
				return err
			}
			if c.String("out") == "" {
				return usagef("logits: --out is missing, want the file to write")
			}
			s, err := openSubject(c, path)
			if err != nil {
				return err
			}
			defer s.close()
			return e.logits(s, rows, c.String("out"))
		},
	}
}

// parseIDs reads "1,2,3;4,5".
func parseIDs(text string) (rows [][]int32, err error) {
	for i, part := range strings.Split(text, ";") {
		var row []int32
		for _, f := range strings.Split(part, ",") {
			n, err := strconv.ParseInt(strings.TrimSpace(f), 10, 32)
			if err != nil {
				return nil, usagef("logits: --ids: %q in sequence %d is not a token id, want e.g. \"1,2,3;4,5\"", f, i+1)
			}
			row = append(row, int32(n))
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func notFinite(v float32) bool { return v != v || v > math.MaxFloat32 || v < -math.MaxFloat32 }

// logits writes "logits" [all tokens, V], sequences one after the other, and their "lengths".
func (e *env) logits(s *subject, rows [][]int32, out string) error {
	if err := s.model.CheckGenerates(); err != nil {
		return usagef("logits: %w", err)
	}
	var ids, positions []int32
	var segments []op.Segment
	lengths := make([]float32, len(rows))
	for i, r := range rows {
		if err := s.model.CheckTokens(r); err != nil {
			return usagef("logits: --ids: sequence %d: %w", i+1, err)
		}
		segments = append(segments, op.Segment{Start: len(ids), End: len(ids) + len(r)})
		for j := range r {
			positions = append(positions, int32(j))
		}
		ids = append(ids, r...)
		lengths[i] = float32(len(r))
	}
	if err := s.model.CheckPositions(positions); err != nil {
		return usagef("logits: --ids: %w", err)
	}
	p := op.NewPass(segments, positions, s.mode, op.NewArena())
	all := make([]int, len(ids))
	for i := range all {
		all[i] = i
	}
	l := s.model.Logits(p, s.model.Hidden(p, ids), all)
	if i := slices.IndexFunc(l.Data, notFinite); i >= 0 {
		return fmt.Errorf("logits: row %d has %g for token %d, want finite numbers: the weights hold NaN or are too large", i/l.Cols, l.Data[i], i%l.Cols)
	}
	err := checkpoint.Write(out, []checkpoint.Entry{checkpoint.FromFloats("logits", []int{l.Rows, l.Cols}, l.Data), checkpoint.FromFloats("lengths", []int{len(rows)}, lengths)}, nil)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "%s: logits [%d, %d], compute %s\n", out, l.Rows, l.Cols, s.mode)
	return err
}
