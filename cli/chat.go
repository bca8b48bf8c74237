package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/generate"
	"github.com/urfave/cli/v2"
)

func (e *env) chatCommand() *cli.Command {
	return &cli.Command{
		Name:      "chat",
		Usage:     "talk to a model, adapter or run in its own chat template",
		ArgsUsage: "MODEL|ADAPTER|RUN",
		UsageText: "graft chat runs/first\n   graft chat models/qwen --system 'Answer in one sentence.' -t 0.7",
		Flags: append(append(modelFlags(), generateFlags()...), quantizeFlag(),
			&cli.StringFlag{Name: "system", Usage: "system message"},
			&cli.StringFlag{Name: "chat-template", Usage: "`file` with a Jinja template instead of the tokenizer's"}),
		Action: func(c *cli.Context) error {
			path, err := one(c, "model, adapter or run")
			if err != nil {
				return err
			}
			s, err := openSubject(c, path)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.needGenerate(false); err != nil {
				return err
			}
			template := c.String("chat-template")
			if template == "" {
				run, err := trainedBy(path, s.folder)
				if err != nil {
					return err
				}
				if run != nil {
					template = run.Model.ChatTemplate
				}
			}
			d, err := openDialogue(s.tok, template)
			if err != nil {
				return err
			}
			if d == nil {
				return usagef("chat: %s has no chat template; give one with --chat-template, or use graft generate", s.path)
			}
			d.Now = time.Now()
			return e.talk(c, s, d)
		},
	}
}

// talk reads a line, answers it, and so on. /reset forgets the conversation, /exit ends it, as the end of input does.
func (e *env) talk(c *cli.Context, s *subject, d *data.Dialogue) error {
	view := screenOf(e.stdout)
	var history data.Conversation
	if sys := c.String("system"); sys != "" {
		history.Messages = append(history.Messages, data.Message{Role: "system", Content: sys})
	}
	start := len(history.Messages)
	g := generateSettings(c)
	o := options(g, s.base)
	if id, ok := d.EndOfTurn(); ok {
		o.EOS = append(o.EOS, id)
	}
	in := bufio.NewScanner(e.stdin)
	in.Buffer(nil, 1<<20)
	if view.terminal {
		fmt.Fprintln(e.stderr, view.paint(dim, "/reset forgets, /exit ends"))
	}
	for {
		if view.terminal {
			fmt.Fprint(e.stdout, view.paint(cyan, "> "))
		}
		if !in.Scan() {
			return in.Err()
		}
		line := strings.TrimSpace(in.Text())
		switch line {
		case "":
			continue
		case "/exit", "/quit":
			return nil
		case "/reset":
			history.Messages = history.Messages[:start]
			continue
		}
		history.Messages = append(history.Messages, data.Message{Role: "user", Content: line})
		ids, err := d.Prompt(&history)
		if err != nil {
			return err
		}
		text, err := e.answer(c.Context, s, ids, g.Stop, o)
		if err != nil {
			return err
		}
		history.Messages = append(history.Messages, data.Message{Role: "assistant", Content: text})
	}
}

// answer continues a prompt and prints what comes as it comes.
func (e *env) answer(ctx context.Context, s *subject, ids []int32, stop []string, o generate.Options) (string, error) {
	var said strings.Builder
	st := &streamer{d: s.tok.NewDecoder(true), stop: stop, print: func(t string) {
		said.WriteString(t)
		fmt.Fprint(e.stdout, t)
	}}
	_, err := generate.Tokens(ctx, generate.NewSession(s.model, s.mode), [][]int32{ids}, o, func(_ int, id int32) bool { return st.next(id) })
	st.flush(true)
	if _, full := fmt.Fprintln(e.stdout); err == nil {
		err = full
	}
	return said.String(), err
}
