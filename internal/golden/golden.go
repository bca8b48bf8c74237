// Package golden finds the reference values that tests compare with, and keeps the one table of what graft does not
// support yet. The values were made by the reference implementations; the folder's own README says how.
package golden

import (
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// Root returns a folder of reference material: the one that the environment variable names (from the project's root, as
// tests run in their package's folder), else the default beside the project (../shared/<sub>). It skips the test, saying so,
// where there is none.
func Root(t testing.TB, env, sub string) string {
	t.Helper()
	dir := os.Getenv(env)
	switch {
	case dir == "":
		dir = filepath.Join(project(t), "..", "shared", sub)
	case !filepath.IsAbs(dir):
		dir = filepath.Join(project(t), dir)
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		t.Skipf("no reference values: %s is not a folder (set %s)", dir, env)
	}
	return dir
}

// Dir is the folder of golden values: GRAFT_GOLDEN, default ../shared/golden.
func Dir(t testing.TB) string { return Root(t, "GRAFT_GOLDEN", "golden") }

// Assets is the folder of real models, tokenizers and data: GRAFT_ASSETS, default ../shared/assets.
func Assets(t testing.TB) string { return Root(t, "GRAFT_ASSETS", "assets") }

// Quality is the folder of whole reference runs: GRAFT_QUALITY, default ../shared/quality.
func Quality(t testing.TB) string { return Root(t, "GRAFT_QUALITY", "quality") }

// project is the folder that holds go.mod.
func project(t testing.TB) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d
		}
		if d == filepath.Dir(d) {
			t.Fatalf("no go.mod above %s", dir)
		}
	}
}

// Facts describe a case ("model_type": "bert", "task": "qa", …); the table of gaps is matched against them.
type Facts map[string]string

// Gap is one line of the table of what is not supported yet. It matches a case when every fact it names agrees.
type Gap struct {
	Suite  string
	Facts  Facts
	Reason string
}

func (g Gap) matches(suite string, f Facts) bool {
	if g.Suite != suite {
		return false
	}
	for k, v := range g.Facts {
		if f[k] != v {
			return false
		}
	}
	return true
}

// Suite runs the cases of one suite: each passes, fails, or is listed by name as unsupported, never silently skipped.
type Suite struct {
	t           *testing.T
	name        string
	passed      int
	unsupported []string
}

// NewSuite starts a suite whose summary is printed when the test ends.
func NewSuite(t *testing.T, name string) *Suite {
	s := &Suite{t: t, name: name}
	t.Cleanup(func() {
		sort.Strings(s.unsupported)
		t.Logf("golden: %s: %d passed, %d unsupported", name, s.passed, len(s.unsupported))
		if len(s.unsupported) > 0 {
			t.Logf("golden: %s: unsupported: %s", name, strings.Join(s.unsupported, ", "))
		}
	})
	return s
}

// Case runs f as a subtest, or lists the case as unsupported if the table Gaps says so.
func (s *Suite) Case(name string, facts Facts, f func(t *testing.T)) {
	for _, g := range Gaps {
		if g.matches(s.name, facts) {
			s.unsupported = append(s.unsupported, name+" ("+g.Reason+")")
			return
		}
	}
	if s.t.Run(name, f) {
		s.passed++
	}
}
