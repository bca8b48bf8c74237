// Package cli is graft's command line: one file per command, argument parsing and printing only.
//
// stdout carries what was asked for (text, tables, JSON), stderr progress and messages. Exit codes: 0 ok, 1 the run
// failed, 2 usage or recipe invalid, 130 interrupted with nothing saved.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// usageError is an error that ends with exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usagef makes a usage error.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// env is what a command may touch of the world outside.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	started        time.Time
}

// commands lists the commands in the order of help.
func (e *env) commands() []*cli.Command {
	return []*cli.Command{
		e.trainCommand(), e.checkCommand(), e.evalCommand(), e.compareCommand(), e.predictCommand(), e.generateCommand(), e.chatCommand(), e.mergeCommand(),
		e.combineCommand(), e.extractCommand(), e.resizeCommand(), e.diffCommand(), e.convertCommand(), e.exportCommand(), e.releaseCommand(), e.checkAdapterCommand(),
		e.inspectCommand(), e.logitsCommand(), e.lsCommand(), e.cpCommand(), e.catCommand(), e.initCommand(), e.explainCommand(),
		e.serveCommand(), e.benchCommand(), e.completionCommand(), e.versionCommand(),
	}
}

// app builds the program.
func (e *env) app() *cli.App {
	a := &cli.App{
		Name:                      "graft",
		Usage:                     "fine-tune language models by small adapters",
		UsageText:                 "graft COMMAND [flags] [arguments]",
		Description:               "  graft train recipes/quickstart.toml     train an adapter as the recipe says\n  graft check my.toml                     show what a recipe would do, train nothing\n  graft merge runs/my -o merged           fold the adapter into the base\n  graft generate runs/my --prompt 'Once'  continue a text",
		Version:                   version(),
		HideVersion:               true,
		ErrWriter:                 e.stderr,
		Reader:                    e.stdin,
		Commands:                  e.commands(),
		Suggest:                   true,
		EnableBashCompletion:      true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {}, // Main maps errors to exit codes
		OnUsageError:              func(c *cli.Context, err error, sub bool) error { return usageError{flagHint(c.Command, err)} },
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand(c.Args().First(), e.commands())
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range a.Commands {
		c.OnUsageError = a.OnUsageError
		for _, s := range c.Subcommands {
			s.OnUsageError = a.OnUsageError
		}
	}
	return a
}

// unknownCommand names the nearest command.
func unknownCommand(name string, commands []*cli.Command) error {
	var names []string
	for _, c := range commands {
		names = append(names, c.Names()...)
	}
	if near := nearest(name, names); near != "" {
		return usagef("unknown command %q, did you mean %q? (graft help lists all)", name, near)
	}
	return usagef("unknown command %q (graft help lists all)", name)
}

// Main runs the program and returns its exit code. args[0] is the program's name.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	e := &env{stdin: stdin, stdout: stdout, stderr: stderr, started: time.Now()}
	ctx, stop := interruptible()
	defer stop()
	app := e.app()
	help := &remember{w: stdout}
	app.Writer = help
	args, err := flagsFirst(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	if err != nil && strings.HasPrefix(err.Error(), "No help topic for ") { // the library's words for graft help WORD
		err = unknownCommand(args[len(args)-1], app.Commands)
	}
	if err == nil {
		err = help.err
	}
	return e.exitCode(ctx, err)
}

// remember keeps the first error of writing help, which the library drops.
type remember struct {
	w   io.Writer
	err error
}

func (r *remember) Write(b []byte) (int, error) {
	n, err := r.w.Write(b)
	if r.err == nil {
		r.err = err
	}
	return n, err
}

// exitCode prints the error, one line unless it is a list, and maps it to the exit code.
func (e *env) exitCode(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	if errors.Is(err, syscall.EPIPE) {
		return exitOK // the reader has seen enough
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		fmt.Fprintln(e.stderr, "graft: interrupted")
		return exitInterrupted
	}
	fmt.Fprintf(e.stderr, "graft: %s\n", shortened(err.Error()))
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// shortened keeps the first lines of a list of problems: a model of the wrong size has thousands.
func shortened(message string) string {
	const shown = 24
	lines := strings.Split(strings.TrimRight(message, "\n"), "\n")
	if more := len(lines) - shown; more > 1 {
		lines = append(lines[:shown], fmt.Sprintf("… and %d more lines", more))
	}
	return strings.Join(lines, "\n")
}

// interruptible returns a context that the first SIGINT or SIGTERM cancels; the second ends the process at once.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
		case <-done:
			return
		}
		cancel()
		select {
		case <-signals:
			os.Exit(exitInterrupted)
		case <-done:
		}
	}()
	return ctx, func() { signal.Stop(signals); close(done); cancel() }
}

// flagHint says what the library says about a flag in the words of this program, with the nearest flag to an unknown one.
func flagHint(cmd *cli.Command, err error) error {
	if m := badValue.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s: --%s is %s, want %s", cmd.Name, m[2], m[1], kindOf(flagNamed(cmd, m[2])))
	}
	const unknown = "flag provided but not defined: -"
	name, ok := strings.CutPrefix(err.Error(), unknown)
	if !ok {
		return err
	}
	name = strings.TrimLeft(name, "-")
	var names []string
	for _, f := range cmd.Flags {
		names = append(names, f.Names()...)
	}
	if near := nearest(name, names); near != "" {
		return fmt.Errorf("%s: unknown flag --%s, did you mean --%s?", cmd.Name, name, near)
	}
	return fmt.Errorf("%s: unknown flag --%s (graft help %s lists them)", cmd.Name, name, cmd.Name)
}

// badValue is the library's message about a value that a flag cannot take.
var badValue = regexp.MustCompile(`(?s)^invalid (?:boolean )?value (".*") for (?:flag )?-([a-z0-9-]+): `)

// kindOf says what a flag takes.
func kindOf(f cli.Flag) string {
	switch f.(type) {
	case *cli.IntFlag:
		return "a whole number"
	case *cli.Uint64Flag:
		return "a whole number of at least 0"
	case *cli.Float64Flag:
		return "a number"
	case *cli.DurationFlag:
		return "a time such as 300ms"
	case *cli.BoolFlag:
		return "true or false, or no value"
	}
	return "another value"
}
