package tilecpu

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"testing"
)

// inside is set in the environment of a test binary that was run again.
const inside = "GRAFT_TILECPU"

// Rerun runs this test binary again, with tiles and with flags of its own, such as -test.run. The test fails if that
// fails or has used no tiles, and is skipped, with the reason, where it cannot be run.
func Rerun(t *testing.T, flags ...string) {
	t.Helper()
	if os.Getenv(inside) != "" {
		t.Skip("this is the run with tiles")
	}
	if why := Lacks(); why != "" {
		t.Skip(why)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := exec.Command(self, flags...)
	c.Env = append(os.Environ(), inside+"=1")
	c.Stdout, c.Stderr = &out, &out
	counts, err := Run(c)
	switch {
	case errors.Is(err, ErrNotPermitted):
		t.Skip(err)
	case err != nil:
		t.Errorf("%v\n%s%v", err, out.Bytes(), flags)
	case counts[tdpbf16ps.String()] == 0:
		t.Errorf("no tiles were used\n%s%v", out.Bytes(), flags)
	default:
		t.Log(counts)
	}
}
