//go:build amd64 && !purego

package kernel

// machineVariants has nothing beyond plain Go yet.
func machineVariants() []variant { return nil }
