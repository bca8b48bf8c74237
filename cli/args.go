package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst moves the flags of a command before its arguments, so that they work in any place: the library stops
// reading flags at the first argument, which would turn a forgotten order into another meaning.
func flagsFirst(app *cli.App, args []string) ([]string, error) {
	var cmd *cli.Command
	at := 1
	list := app.Commands
	for ; at < len(args); at++ {
		next := find(list, args[at])
		if next == nil {
			break
		}
		cmd, list = next, next.Subcommands
	}
	if cmd == nil {
		return args, nil
	}
	for _, a := range args {
		if a == "--generate-bash-completion" {
			return args, nil
		}
	}
	flags, rest := []string{}, []string{}
	for i := at; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			rest = append(rest, args[i+1:]...)
			break
		}
		if len(a) < 2 || a[0] != '-' || isNumber(a) {
			rest = append(rest, a)
			continue
		}
		flags = append(flags, a)
		name, _, inline := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if inline || !takesValue(cmd, name) {
			continue
		}
		if i+1 == len(args) || isFlag(cmd, args[i+1]) {
			return nil, usagef("%s: %s needs a value", cmd.Name, a)
		}
		i++
		flags = append(flags, args[i])
	}
	out := append(append([]string{}, args[:at]...), flags...)
	if len(rest) > 0 {
		out = append(append(out, "--"), rest...)
	}
	return out, nil
}

func find(list []*cli.Command, name string) *cli.Command {
	for _, c := range list {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// flagNamed is the flag of the command by one of its names; nil if there is none.
func flagNamed(cmd *cli.Command, name string) cli.Flag {
	for _, f := range cmd.Flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// takesValue says whether the flag of the command reads the next word; unknown flags do not (the library reports them).
func takesValue(cmd *cli.Command, name string) bool {
	d, ok := flagNamed(cmd, name).(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// isFlag says whether a word is a flag of the command, so that it is not the value of the flag before.
func isFlag(cmd *cli.Command, word string) bool {
	name, ok := strings.CutPrefix(word, "--")
	name, _, _ = strings.Cut(name, "=")
	return ok && flagNamed(cmd, name) != nil
}

// isNumber says whether a word that begins with - is a negative number rather than a flag.
func isNumber(a string) bool { return len(a) > 1 && (a[1] >= '0' && a[1] <= '9' || a[1] == '.') }

// nearest returns the name within edit distance 2 (or a third of the length) of got, or "". Something of got must stay.
func nearest(got string, names []string) string {
	best, at := min(max(2, len(got)/3), len(got)-1)+1, ""
	for _, n := range names {
		if d := distance(got, n); d < best {
			best, at = d, n
		}
	}
	return at
}

// distance is the number of insertions, deletions and substitutions between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, diag+1)
		}
	}
	return row[len(b)]
}
