package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/urfave/cli/v2"
)

// unreleased is the version of a build that did not come through the module system.
const unreleased = "0.1.0-dev"

// version is the module's version, or the release this source is working towards.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return unreleased
}

// build describes the binary.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	Kernel  string `json:"kernel"` // the variant chosen on this machine
}

func thisBuild() build {
	b := build{Version: version(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, Kernel: kernel.Features()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = s.Value
			}
		}
	}
	return b
}

func (e *env) versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print version, commit, Go version, platform and kernel variant",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := atMost(c, 0); err != nil {
				return err
			}
			b := thisBuild()
			if c.Bool("json") {
				return e.printJSON(b)
			}
			commit := ""
			if b.Commit != "" {
				commit = " (" + b.Commit[:min(12, len(b.Commit))] + ")"
			}
			_, err := fmt.Fprintf(e.stdout, "graft %s%s %s %s/%s, kernels %s\n", b.Version, commit, b.Go, b.OS, b.Arch, b.Kernel)
			return err
		},
	}
}

// jsonFlag is the flag of every command that prints what it read.
func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print JSON for machines"} }

// printJSON writes v to stdout, indented, without escaping the text of other languages.
func (e *env) printJSON(v any) error {
	enc := json.NewEncoder(e.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
