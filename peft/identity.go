package peft

import (
	"context"
	"errors"
	"fmt"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/model/layer"
)

// BaseKey is where an adapter file's metadata has the SHA-256 of the base that it was trained on, as checkpoint.Hash gives it. It is
// a string among others that other programs pass over. docs/design/006-an-adapter-knows-its-base.md says why it is this hash.
const BaseKey = "graft.base_sha256"

// ErrOtherBase is what errors.Is finds in the error about a base that is not the one trained on.
var ErrOtherBase = errors.New("another base")

// Identified is a model that knows the hash of its tensors; "" if they are of no checkpoint.
type Identified interface {
	Identity(ctx context.Context) (string, error)
}

// Identify notes the hash of the model's tensors in the settings, for Save to write.
func Identify(ctx context.Context, c Config, m layer.Model) error {
	x, ok := m.(Identified)
	if !ok {
		return nil
	}
	hash, err := x.Identity(ctx)
	c.Shared().BaseHash = hash
	return err
}

// checkBase holds the model to the hash in the adapter's file, if there is one, and notes it.
func checkBase(c Config, file *checkpoint.Checkpoint, m layer.Model, allow Allow) error {
	want := file.Metadata()[BaseKey]
	c.Shared().BaseHash = want
	x, ok := m.(Identified)
	if want == "" || allow.OtherBase || !ok {
		return nil
	}
	got, err := x.Identity(context.Background())
	if err != nil {
		return err
	}
	if got != "" && got != want {
		return otherBase(fmt.Sprintf("peft: %s: the base's tensors have SHA-256 %s, want %.64s: the adapter was trained on another base", file.Path(), got, want))
	}
	return nil
}

// otherBase is ErrOtherBase without saying so.
type otherBase string

func (e otherBase) Error() string        { return string(e) }
func (e otherBase) Is(target error) bool { return target == ErrOtherBase }

// metadata of an adapter's file.
func metadata(c Config) map[string]string {
	m := map[string]string{"format": "pt"}
	if h := c.Shared().BaseHash; h != "" {
		m[BaseKey] = h
	}
	return m
}
