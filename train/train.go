// Package train is the training loop and its run folder.
package train
