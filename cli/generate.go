package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/recipes"
	"github.com/urfave/cli/v2"
)

// generateFlags are the keys of the recipe's section as flags.
func generateFlags() []cli.Flag {
	d := recipes.New().Generate
	return []cli.Flag{
		&cli.IntFlag{Name: "max-new-tokens", Aliases: []string{"n"}, Value: d.MaxNewTokens, Usage: "at most so many tokens"},
		&cli.Float64Flag{Name: "temperature", Aliases: []string{"t"}, Value: d.Temperature, Usage: "0 = always the best token"},
		&cli.IntFlag{Name: "top-k", Value: d.TopK, Usage: "draw from the k best tokens; 0 = all"},
		&cli.Float64Flag{Name: "top-p", Value: d.TopP, Usage: "draw from the best tokens that hold this probability"},
		&cli.Float64Flag{Name: "min-p", Value: d.MinP, Usage: "draw from tokens at least so probable as this share of the best"},
		&cli.Float64Flag{Name: "repetition-penalty", Value: d.RepetitionPenalty, Usage: "above 1 discourages tokens that were seen"},
		&cli.IntFlag{Name: "no-repeat-ngram-size", Value: d.NoRepeatNgram, Usage: "no n-gram of this length twice"},
		&cli.IntFlag{Name: "num-beams", Value: d.NumBeams, Usage: "beam search of this width"},
		&cli.Float64Flag{Name: "length-penalty", Value: d.LengthPenalty, Usage: "of beams"},
		&cli.StringSliceFlag{Name: "stop", Usage: "`text` that ends the continuation"},
		&cli.Uint64Flag{Name: "seed", Usage: "of the draws"},
	}
}

func generateSettings(c *cli.Context) recipes.Generate {
	return recipes.Generate{MaxNewTokens: c.Int("max-new-tokens"), Temperature: c.Float64("temperature"), TopK: c.Int("top-k"), TopP: c.Float64("top-p"),
		MinP: c.Float64("min-p"), RepetitionPenalty: c.Float64("repetition-penalty"), NoRepeatNgram: c.Int("no-repeat-ngram-size"),
		NumBeams: c.Int("num-beams"), LengthPenalty: c.Float64("length-penalty"), Stop: c.StringSlice("stop"), Seed: c.Uint64("seed")}
}

func (e *env) generateCommand() *cli.Command {
	return &cli.Command{
		Name:      "generate",
		Usage:     "continue texts with a model, adapter or run, or tell texts of sources with one that reads these",
		ArgsUsage: "MODEL|ADAPTER|RUN",
		UsageText: "graft generate runs/first --prompt 'Once upon a time'\ngraft generate models/llama --adapter runs/first/adapter -p 'Dear' -t 0.8 --seed 3\ngraft generate runs/first < prompts.txt\n" +
			"graft generate runs/translation -p 'The house is small.' --num-beams 4",
		Flags: append(append(modelFlags(), generateFlags()...),
			&cli.StringSliceFlag{Name: "prompt", Aliases: []string{"p"}, Usage: "`text` to continue, or source; several make a batch; without, one a line from standard input"},
			&cli.BoolFlag{Name: "no-bos", Usage: "do not put the beginning-of-text token before prompts"},
			quantizeFlag(), jsonFlag()),
		Action: func(c *cli.Context) error {
			path, err := one(c, "model, adapter or run")
			if err != nil {
				return err
			}
			if err := options(generateSettings(c), nil).Validate(); err != nil {
				return usageError{err}
			}
			s, err := openSubject(c, path)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.needGenerate(true); err != nil {
				return err
			}
			prompts := c.StringSlice("prompt")
			if len(prompts) == 0 {
				if prompts, err = readLines(e.stdin); err != nil {
					return err
				}
			}
			return e.generate(c, s, path, prompts)
		},
	}
}

// readLines reads one prompt a line.
func readLines(r io.Reader) (lines []string, err error) {
	b := bufio.NewReader(r)
	for {
		line, err := b.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			lines = append(lines, line)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if len(lines) == 0 {
		return nil, usagef("generate: no prompt: use --prompt, or give one a line on standard input")
	}
	return lines, nil
}

// generate continues all prompts, or tells their sources; a single one is printed as it comes.
func (e *env) generate(c *cli.Context, s *subject, path string, prompts []string) error {
	run, err := trainedBy(path, s.folder)
	if err != nil {
		return err
	}
	g := generateSettings(c)
	o, err := e.generation(c, s, run, &g)
	if err != nil {
		return err
	}
	ids, err := promptIDs(c, s, run, prompts)
	if err != nil {
		return err
	}
	before := func(i int) string { return prompts[i] }
	if s.reads() { // what is told stands for itself
		before = func(int) string { return "" }
	}
	if len(prompts) == 1 && !c.Bool("json") && o.NumBeams <= 1 {
		if _, err := fmt.Fprint(e.stdout, before(0)); err != nil {
			return err
		}
		return e.stream(c, s, ids, o, g.Stop)
	}
	out, err := s.write(c.Context, ids, o, nil)
	if err != nil {
		return err
	}
	list := make([]sample, len(prompts))
	for i := range out {
		list[i] = sample{Prompt: prompts[i], Text: cut(s.tok.Decode(out[i], true), g.Stop)}
	}
	if c.Bool("json") {
		return e.printJSON(list)
	}
	for i, x := range list {
		if _, err := fmt.Fprintf(e.stdout, "%s%s\n", before(i), x.Text); err != nil {
			return err
		}
	}
	return nil
}

// generation are the options that the flags give, over those of the run and the model where it reads sources.
func (e *env) generation(c *cli.Context, s *subject, run *recipes.Recipe, g *recipes.Generate) (generate.Options, error) {
	var section *recipes.Generate
	if run != nil {
		section = &run.Generate
	}
	o, notes, err := s.generation(g, section, func(key string) bool { return c.IsSet(strings.ReplaceAll(key, "_", "-")) })
	for _, n := range notes {
		fmt.Fprintf(e.stderr, "note: %s\n", n)
	}
	return o, err
}

// promptIDs are the tokens of prompts, or of sources.
func promptIDs(c *cli.Context, s *subject, run *recipes.Recipe, prompts []string) (ids [][]int32, err error) {
	if s.reads() {
		if c.Bool("no-bos") {
			return nil, usagef("generate: --no-bos means nothing for a model that reads sources")
		}
		return s.sources(prompts, run)
	}
	for _, p := range prompts {
		ids = append(ids, s.tok.Encode(p, !c.Bool("no-bos")).IDs)
	}
	return ids, nil
}

// stream prints one continuation token by token.
func (e *env) stream(c *cli.Context, s *subject, ids [][]int32, o generate.Options, stop []string) error {
	var failed error
	st := &streamer{d: s.tok.NewDecoder(true), stop: stop, print: func(t string) {
		if _, err := fmt.Fprint(e.stdout, t); err != nil {
			failed = err
		}
	}}
	_, err := s.write(c.Context, ids, o, func(_ int, id int32) bool { return st.next(id) && failed == nil })
	st.flush(true)
	if err != nil || failed != nil {
		return errors.Join(err, failed)
	}
	_, err = fmt.Fprintln(e.stdout)
	return err
}
