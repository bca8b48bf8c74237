package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/merge/verify"
	"github.com/graft-ml/graft/model"
	"github.com/urfave/cli/v2"
)

// verifyFlags ask for a look at what was merged.
func verifyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "verify", Usage: "load what was written and compare what it says with base and adapter; a merge that is wrong leaves nothing"},
		&cli.StringFlag{Name: "verify-text", Usage: "text `file` to compare on; without it, text that base and adapter make up"},
	}
}

// verifier is merge.Job's Check for a subject; nil if none was asked for.
func (e *env) verifier(c *cli.Context, s *subject) (func(dir string, r *merge.Report) (any, error), error) {
	if !c.Bool("verify") {
		if c.IsSet("verify-text") {
			return nil, usagef("merge: --verify-text is for --verify")
		}
		return nil, nil
	}
	rows, err := verifyRows(c.Context, s, c.String("verify-text"))
	if err != nil {
		return nil, err
	}
	mode := kernel.DefaultMode()
	want, err := verify.Scores(s.model, rows, mode)
	if err != nil {
		return nil, err
	}
	bare, err := model.Load(s.src)
	if err != nil {
		return nil, err
	}
	was, err := verify.Scores(bare, rows, mode)
	if err != nil {
		return nil, err
	}
	return func(dir string, r *merge.Report) (any, error) {
		merged, err := checkpoint.Open(dir)
		if err != nil {
			return nil, err
		}
		defer merged.Close()
		m, err := model.Load(merged)
		if err != nil {
			return nil, err
		}
		got, err := verify.Scores(m, rows, mode)
		if err != nil {
			return nil, err
		}
		result, err := verify.Compare(was, want, got)
		if err != nil {
			return nil, err
		}
		return result, result.Check(verify.Limit(r))
	}, nil
}

// Sizes of the text that a merge is compared on.
const (
	verifySequences = 4
	verifyTokens    = 32 // of each
)

// verifyRows are the tokens to compare on: of a text, or continued from single tokens by the model itself; of models that go on with no
// text, tokens here and there in the vocabulary.
func verifyRows(ctx context.Context, s *subject, path string) ([][]int32, error) {
	length := verifyTokens
	if n := s.model.Config.MaxPositionEmbeddings; n > 0 {
		length = min(length, n)
	}
	if path != "" {
		return textRows(s, path, length)
	}
	vocabulary := s.model.Config.VocabSize
	var rows [][]int32
	for i := range verifySequences {
		rows = append(rows, []int32{int32((2*i + 1) * vocabulary / (2 * verifySequences))})
	}
	if s.model.CheckGenerates() != nil {
		for i := range rows {
			for j := 1; j < length; j++ {
				rows[i] = append(rows[i], int32((int(rows[i][0])+j*7919)%vocabulary)) // a prime, so that none comes soon again
			}
		}
		return rows, nil
	}
	o := generate.Options{MaxNewTokens: length - 1, Temperature: 1, Seed: 1}
	more, err := generate.Tokens(ctx, generate.NewSession(s.model, kernel.DefaultMode()), rows, o, nil)
	for i := range more {
		rows[i] = append(rows[i], more[i]...)
	}
	return rows, err
}

// textRows cuts a text into sequences.
func textRows(s *subject, path string, length int) (rows [][]int32, err error) {
	if s.tok == nil {
		return nil, fmt.Errorf("merge: --verify-text %s: the base has no tokenizer to read it", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef("merge: --verify-text: %w", err)
	}
	if len(text) == 0 {
		return nil, usagef("merge: --verify-text %s is empty", path)
	}
	ids := s.tok.Encode(string(text), true).IDs
	for len(ids) > 0 && len(rows) < 2*verifySequences {
		n := min(length, len(ids))
		rows, ids = append(rows, ids[:n]), ids[n:]
	}
	return rows, nil
}

// verifiedText tells what a comparison found.
func verifiedText(r *verify.Result) string {
	return fmt.Sprintf("on %d tokens: wrong by %.3g of the adapter's effect (at most %.3g); largest difference %.3g, mean %.3g, same first choice in %.1f %%, KL %.3g",
		r.Rows, r.Share, r.Limit, r.Max, r.Mean, 100*r.Top1, r.KL)
}
