package cli

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/rivo/uniseg"
	"golang.org/x/sys/unix"
)

// onTerminal runs the command line with a terminal of a width as its outputs and returns what reached it.
func onTerminal(t *testing.T, width uint16, args ...string) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	defer master.Close()
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: width})
	}
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	seen := make(chan string)
	go func() {
		var b bytes.Buffer
		b.ReadFrom(master) // ends with an error once the other side is closed
		seen <- b.String()
	}()
	code := Main(append([]string{"graft"}, args...), strings.NewReader(""), slave, slave)
	slave.Close()
	out := <-seen
	if code != exitOK {
		t.Fatalf("graft %s = %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// TestTerminal looks at the output on a terminal: colours unless NO_COLOR or TERM forbid them, and a changing line that
// never is wider than the screen.
func TestTerminal(t *testing.T) {
	t.Chdir(newWorld(t))
	const recipe = `eval.prompts=["店名 = 石窑"]`
	for _, c := range []struct {
		name, key, value string
		coloured         bool
	}{
		{"in colours", "TERM", "xterm-256color", true},
		{"NO_COLOR", "NO_COLOR", "", false},
		{"a dumb terminal", "TERM", "dumb", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("TERM", "xterm")
			t.Setenv(c.key, c.value)
			if c.key != "NO_COLOR" {
				os.Unsetenv("NO_COLOR")
			}
			for _, args := range [][]string{{"train", "r.toml", "--overwrite", "--set", recipe, "--set", "generate.max_new_tokens=4"}, {"check", "r.toml"}} {
				out := onTerminal(t, 40, args...)
				if got := regexp.MustCompile("\x1b\\[[0-9;]*m").MatchString(out); got != c.coloured {
					t.Errorf("graft %s: colours %v, want %v", args[0], got, c.coloured)
				}
			}
		})
	}
	for _, width := range []uint16{1, 2, 5, 11, 13, 20, 80} {
		t.Run(fmt.Sprintf("%d columns", width), func(t *testing.T) {
			out := onTerminal(t, width, "train", "r.toml", "--overwrite", "--set", "train.logging_steps=1")
			for _, part := range strings.Split(out, "\r\x1b[K")[1:] {
				line, _, lasting := strings.Cut(part, "\n")
				if w := uniseg.StringWidth(escapes.ReplaceAllString(line, "")); !lasting && w > int(width) {
					t.Errorf("a changing line of %d columns: %q", w, line)
				}
			}
		})
	}
}
