// Package serve answers many requests at once over one model, each through adapters of its own.
package serve
