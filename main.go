// Command graft fine-tunes language models by small adapters: see README.md, or run graft help.
package main

import (
	"os"

	"github.com/graft-ml/graft/cli"
)

func main() { os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
