package recipes

import (
	"embed"
	"io/fs"
)

//go:embed quickstart
var builtin embed.FS

// Quickstart is the folder that "builtin:quickstart" means: a small base model with its tokenizer, and the rows of a task.
func Quickstart() fs.FS {
	f, err := fs.Sub(builtin, "quickstart")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	return f
}
