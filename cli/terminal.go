package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// screen says what a stream can show.
type screen struct {
	terminal bool
	colour   bool
	width    int
}

// screenOf looks at a stream. Colour needs a terminal, and no NO_COLOR and no TERM=dumb in the environment.
func screenOf(w io.Writer) screen {
	s := screen{width: 80}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	s.terminal = true
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
		s.width = width
	}
	_, no := os.LookupEnv("NO_COLOR")
	s.colour = !no && os.Getenv("TERM") != "dumb"
	return s
}

// SGR codes of the few colours in use.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// paint wraps text in a colour where there is colour.
func (s screen) paint(code, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
