//go:build linux && amd64

// Command run runs a Go program that multiplies with internal/kernel as on a processor with tiles, and ends with its exit code.
//
//	go run ./internal/tilecpu/run PROGRAM ARGUMENTS…
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/graft-ml/graft/internal/tilecpu"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	why := tilecpu.Lacks()
	if len(args) == 0 {
		why = "want the program to run and its arguments"
	}
	if why != "" {
		fmt.Fprintln(os.Stderr, "tilecpu:", why)
		return 2
	}
	c := exec.Command(args[0], args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	counts, err := tilecpu.Run(c)
	fmt.Fprintln(os.Stderr, "tilecpu:", counts)
	var ended *tilecpu.ExitError
	switch {
	case errors.As(err, &ended) && ended.Status.Exited():
		return ended.Status.ExitStatus()
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
