package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/data/source"
	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/report"
	"github.com/urfave/cli/v2"
)

func (e *env) predictCommand() *cli.Command {
	return &cli.Command{
		Name:  "predict",
		Usage: "have a run, adapter or model do its task on the rows of a file or pipe",
		Description: "A line of JSON for each row, in the order of the rows: labels with their probabilities, words with tags and entities,\n" +
			"answers with their places, fillings of masks, or continuations. Rows have the columns of training without what is to be\n" +
			"predicted; plain text is a row a line.",
		ArgsUsage: "RUN|ADAPTER|MODEL",
		UsageText: "graft predict runs/intents --input questions.jsonl --output predictions.jsonl\n" +
			"cat lines.txt | graft predict runs/intents | jq -r .label\n" +
			"graft predict runs/squad --input dev.json --null -o answers.jsonl\n" +
			"graft predict runs/alpaca --input prompts.jsonl -n 100 -t 0.7 --seed 1",
		Flags: append(append(modelFlags(), generateFlags()...), quantizeFlag(), outFlag("`file` to write; without, standard output"),
			&cli.StringFlag{Name: "input", Aliases: []string{"i"}, Usage: "`file`, folder or pattern with the rows; without, standard input"},
			&cli.StringFlag{Name: "output", Usage: "the same as --out"},
			&cli.StringFlag{Name: "shape", Usage: "what a row looks like, where the run does not say (graft explain data.shape)"},
			&cli.IntFlag{Name: "batch-rows", Value: 32, Usage: "rows that are read before any of them is answered; 1 answers each at once"},
			&cli.IntFlag{Name: "top", Value: 5, Usage: "list so many fillings of a mask, or answers"},
			&cli.BoolFlag{Name: "null", Usage: "a question may have no answer"},
			&cli.BoolFlag{Name: "json", Usage: "print a summary as JSON when the predictions go to a file"}),
		Action: e.predict,
	}
}

// predictions is the summary of predict.
type predictions struct {
	Output  string  `json:"output"`
	Task    string  `json:"task"`
	Rows    int     `json:"rows"`
	Tokens  int64   `json:"tokens"`
	Seconds float64 `json:"seconds"`
	// Scores are those of the texts for rows that say what should be written.
	Scored int            `json:"scored,omitempty"` // texts
	Scores []report.Score `json:"scores,omitempty"`
}

func (e *env) predict(c *cli.Context) error {
	path, err := one(c, "run, adapter or model")
	if err != nil {
		return err
	}
	out := c.String("out")
	if o := c.String("output"); o != "" {
		if out != "" && out != o {
			return usagef("predict: --out and --output name two files, want one")
		}
		out = o
	}
	if n := c.Int("batch-rows"); n < 1 {
		return usagef("predict: --batch-rows is %d, want at least 1", n)
	}
	if n := c.Int("top"); n < 1 {
		return usagef("predict: --top is %d, want at least 1", n)
	}
	if err := options(generateSettings(c), nil).Validate(); err != nil {
		return usageError{err}
	}
	s, err := openSubject(c, path)
	if err != nil {
		return err
	}
	defer s.close()
	p, err := e.newPredictor(c, s, path)
	if err != nil {
		return err
	}
	rows, err := e.inputRows(c.String("input"))
	if err != nil {
		return err
	}
	if out == "" {
		return p.run(c.Context, rows, e.stdout, c.Int("batch-rows"))
	}
	start := time.Now()
	err = atomicfile.Write(out, func(w io.Writer) error { return p.run(c.Context, rows, w, c.Int("batch-rows")) })
	if err != nil {
		return err
	}
	sum := predictions{Output: out, Task: p.task.Name, Rows: p.rows, Tokens: p.tokens, Seconds: time.Since(start).Seconds()}
	if sum.Scores, err = p.written.Scores(); err != nil {
		return err
	}
	sum.Scored = len(p.written.Tuned)
	if c.Bool("json") {
		return e.printJSON(sum)
	}
	t := newPairs(e.stdout)
	t.add("written", fmt.Sprintf("%s, %s rows, %s tokens", out, count(int64(sum.Rows)), count(sum.Tokens)))
	if sum.Scored > 0 {
		t.add("scored", fmt.Sprintf("%s texts", count(int64(sum.Scored))))
		addScores(t, sum.Scores)
	}
	t.add("time", spanText(time.Since(start)))
	return t.flush()
}

// inputRows reads a file, or standard input, whose first byte tells the format.
func (e *env) inputRows(path string) (iter.Seq2[data.Row, error], error) {
	if path != "" && path != "-" {
		dir, pattern := source.Split(path)
		return source.Files{FS: os.DirFS(dir), Dir: dir, Path: pattern}.Rows(), nil
	}
	in := bufio.NewReader(e.stdin)
	format := "text"
	first, err := in.Peek(1)
	switch {
	case errors.Is(err, io.EOF):
		return nil, usagef("predict: no rows: use --input, or give them on standard input")
	case err != nil:
		return nil, fmt.Errorf("predict: standard input: %w", err)
	case first[0] == '{':
		format = "jsonl"
	case first[0] == '[':
		format = "json"
	}
	return source.Files{FS: pipe{in}, Path: pipeName, Format: format}.Rows(), nil
}

// pipeName is what rows of standard input are said to come from.
const pipeName = "stdin"

// pipe is standard input as a folder with one file, which is read once.
type pipe struct{ r io.Reader }

func (p pipe) Open(name string) (fs.File, error) {
	if name != pipeName {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return p, nil
}

func (p pipe) Stat() (fs.FileInfo, error) { return p, nil }
func (p pipe) Read(b []byte) (int, error) { return p.r.Read(b) }
func (p pipe) Close() error               { return nil }
func (p pipe) Name() string               { return pipeName }
func (p pipe) Size() int64                { return 0 }
func (p pipe) Mode() fs.FileMode          { return 0 }
func (p pipe) ModTime() time.Time         { return time.Time{} }
func (p pipe) IsDir() bool                { return false }
func (p pipe) Sys() any                   { return nil }

// run answers the rows in their order, some at a time.
func (p *predictor) run(ctx context.Context, rows iter.Seq2[data.Row, error], w io.Writer, some int) error {
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	var list []data.Row
	flush := func() error {
		answers, err := p.answer(ctx, list)
		for _, a := range answers {
			err = errors.Join(err, enc.Encode(a))
		}
		list = list[:0]
		return errors.Join(err, b.Flush())
	}
	for row, err := range rows {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return errors.Join(flush(), err)
		}
		if list = append(list, row); len(list) == some {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if p.rows == 0 {
		return errors.New("predict: no rows in the input, want at least one")
	}
	return nil
}

// trainedBy is the recipe of the run that the first of the paths with one is, or whose adapter it is; nil if none is. A path may be "".
func trainedBy(paths ...string) (*recipes.Recipe, error) {
	var dirs []string
	for _, path := range paths {
		if path != "" {
			dirs = append(dirs, path)
		}
		if clean := filepath.Clean(path); filepath.Base(clean) == "adapter" {
			dirs = append(dirs, filepath.Dir(clean))
		}
	}
	for _, dir := range dirs {
		name := filepath.Join(dir, "recipe.toml")
		src, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("recipe: %w", err)
		}
		return recipes.Load(name, src, nil)
	}
	return nil, nil
}

// placeOf is the line of a row, or its number where the format has no lines.
func placeOf(row *data.Row) int {
	if row.Line > 0 {
		return row.Line
	}
	return row.Row
}

// shapeFor is the shape of rows for a task: that of the run, else the task's own, else what fits the first row.
func shapeFor(asked string, r *recipes.Recipe, task string) string {
	switch {
	case asked != "":
		return asked
	case r != nil && r.Data.Shape != "auto":
		return r.Data.Shape
	}
	for i := range data.Shapes {
		if data.Shapes[i].Task == task {
			return data.Shapes[i].Name
		}
	}
	return "auto"
}
