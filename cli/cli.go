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
	"strings"
	"syscall"

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
}

// commands lists the commands in the order of help.
func (e *env) commands() []*cli.Command {
	return []*cli.Command{
		e.trainCommand(), e.checkCommand(), e.evalCommand(), e.generateCommand(), e.chatCommand(), e.mergeCommand(),
		e.inspectCommand(), e.logitsCommand(), e.lsCommand(), e.cpCommand(), e.catCommand(), e.initCommand(), e.explainCommand(),
		e.benchCommand(), e.completionCommand(), e.versionCommand(),
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
		Writer:                    e.stdout,
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
				return e.unknownCommand(c.Args().First())
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
func (e *env) unknownCommand(name string) error {
	var names []string
	for _, c := range e.commands() {
		names = append(names, c.Names()...)
	}
	if near := nearest(name, names); near != "" {
		return usagef("unknown command %q, did you mean %q? (graft help lists all)", name, near)
	}
	return usagef("unknown command %q (graft help lists all)", name)
}

// Main runs the program and returns its exit code. args[0] is the program's name.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	e := &env{stdin: stdin, stdout: stdout, stderr: stderr}
	ctx, stop := interruptible()
	defer stop()
	app := e.app()
	args, err := flagsFirst(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	return e.exitCode(ctx, err)
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
	fmt.Fprintf(e.stderr, "graft: %s\n", strings.TrimSuffix(err.Error(), "\n"))
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
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

// flagHint adds the nearest flag to the library's message about an unknown one.
func flagHint(cmd *cli.Command, err error) error {
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
