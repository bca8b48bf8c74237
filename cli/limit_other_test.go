//go:build !linux && !darwin

package cli

// limited runs main.
func limited(main func() int) int { return main() }
