package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Format is one file format of checkpoints.
type Format struct {
	Name string
	// Files are the names that a folder's weights have in this format, the most usual first. The index of shards has the
	// name with ".index.json".
	Files []string
	// Endings are those of names of files in this format.
	Endings []string
	// Sniff tells the format by the first bytes of a file.
	Sniff func(head []byte) bool
	// Parse checks a whole file and lists its tensors. It is nil for a format that is recognised but not read; then
	// Refusal says so.
	Parse   func(data []byte) (*Table, error)
	Refusal string
}

// Formats is the table of file formats, the preferred first.
var Formats = []Format{
	{
		Name:    "safetensors",
		Files:   []string{"model.safetensors", "adapter_model.safetensors"},
		Endings: []string{".safetensors"},
		Sniff: func(head []byte) bool {
			return len(head) > 8 && head[8] == '{' && binary.LittleEndian.Uint64(head) <= maxHeader
		},
		Parse: parseSafetensors,
	},
	{
		Name:    "torch",
		Files:   []string{"pytorch_model.bin", "adapter_model.bin"},
		Endings: []string{".bin", ".pt", ".pth"},
		Sniff:   func(head []byte) bool { return hasPrefix(head, zipMagic) || isPickle(head) },
		Parse:   parseTorch,
	},
	{
		Name:    "GGUF",
		Files:   []string{"model.gguf"},
		Endings: []string{".gguf"},
		Sniff:   func(head []byte) bool { return hasPrefix(head, "GGUF") },
		Refusal: "is a GGUF file, want safetensors",
	},
	{
		Name:    "Git LFS pointer",
		Sniff:   func(head []byte) bool { return hasPrefix(head, "version https://git-lfs") },
		Refusal: "is a Git LFS pointer, want the file itself (git lfs pull)",
	},
}

func hasPrefix(head []byte, s string) bool { return bytes.HasPrefix(head, []byte(s)) }

// parseFile finds the format of a file and reads its table.
func parseFile(name string, data []byte) (*Table, error) {
	head := data[:min(len(data), 32)]
	for _, f := range Formats {
		if !f.Sniff(head) {
			continue
		}
		if f.Parse == nil {
			return nil, formatError(fmt.Sprintf("checkpoint: %s: %s", name, f.Refusal))
		}
		return parseAs(f, name, data)
	}
	// Nothing looks like itself: read a damaged file as what its name says, for the most telling error.
	return parseAs(byName(name), name, data)
}

func byName(name string) Format {
	for _, f := range Formats {
		if f.Parse != nil && slices.ContainsFunc(f.Endings, func(end string) bool { return strings.HasSuffix(name, end) }) {
			return f
		}
	}
	return Formats[0]
}

func parseAs(f Format, name string, data []byte) (*Table, error) {
	t, err := f.Parse(data)
	if err != nil {
		return nil, formatError(fmt.Sprintf("checkpoint: %s: %v", name, err))
	}
	return t, nil
}
