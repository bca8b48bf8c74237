package recipes

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

//go:embed *.toml
var shipped embed.FS

// ShippedNames lists the recipes inside the program, sorted.
func ShippedNames() []string {
	entries, err := fs.ReadDir(shipped, ".")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), ".toml")
	}
	return names
}

// Shipped returns a recipe of the program by its name, with or without .toml.
func Shipped(name string) ([]byte, error) {
	b, err := fs.ReadFile(shipped, path.Base(strings.TrimSuffix(name, ".toml"))+".toml")
	if err != nil {
		near := didYouMean(nearest(name, ShippedNames()))
		return nil, fmt.Errorf("recipes: no recipe %q%s (graft ls lists them)", name, near)
	}
	return b, nil
}

// Title is the first comment of a recipe.
func Title(src []byte) string {
	line, _, _ := strings.Cut(string(src), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, "#"))
}
