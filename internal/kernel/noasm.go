//go:build !amd64 || purego

package kernel

// machineVariants has nothing beyond plain Go here.
func machineVariants() []variant { return nil }
