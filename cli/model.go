package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/recipes"
	"github.com/urfave/cli/v2"
)

// modelFlags say which adapter to put on a model, and how to compute.
func modelFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "adapter", Usage: "adapter `folder` to attach"},
		&cli.StringFlag{Name: "base", Usage: "base model `folder` instead of the one the run or adapter names"},
		&cli.StringFlag{Name: "compute", Value: "auto", Usage: "auto, f32, bf16 or split"},
		&cli.BoolFlag{Name: "allow-missing", Usage: "accept an adapter file that lacks tensors"},
		&cli.BoolFlag{Name: "allow-unexpected", Usage: "accept an adapter file with tensors that have no place"},
		&cli.BoolFlag{Name: "allow-mismatched", Usage: "leave out tensors of an adapter file that have another shape"},
		&cli.BoolFlag{Name: "allow-non-finite", Usage: "accept NaN and infinity in an adapter file"},
		&cli.BoolFlag{Name: "allow-zero", Usage: "accept an adapter file with matrices that are all zero"},
		&cli.BoolFlag{Name: "allow-idle", Usage: "accept an adapter that changes nothing"},
		&cli.BoolFlag{Name: "allow-other-base", Usage: "attach an adapter to another base than it was trained on"},
	}
}

// quantizeFlag is for commands that only compute with a model.
func quantizeFlag() cli.Flag {
	return &cli.StringFlag{Name: "quantize", Value: "none", Usage: "keep the frozen projections as int8, nf4 or lossless (bf16 in 12 bits, the same numbers), with +head the head as well"}
}

// allowed is what the flags put up with.
func allowed(c *cli.Context) peft.Allow {
	return peft.Allow{Missing: c.Bool("allow-missing"), Unexpected: c.Bool("allow-unexpected"), Mismatched: c.Bool("allow-mismatched"),
		NonFinite: c.Bool("allow-non-finite"), Zero: c.Bool("allow-zero"), Idle: c.Bool("allow-idle"), OtherBase: c.Bool("allow-other-base")}
}

// subject is a model with or without an adapter, ready for use.
type subject struct {
	*base
	config  peft.Config
	adapter peft.Adapter
	folder  string // of the adapter; "" without
}

// openSubject opens what a path means: a model folder, an adapter folder, or a run folder with a finished adapter.
func openSubject(c *cli.Context, path string) (*subject, error) {
	adapter, model := c.String("adapter"), c.String("base")
	switch {
	case strings.HasPrefix(path, recipes.Builtin):
		model = path
	case exists(filepath.Join(path, "environment.json")):
		inner := filepath.Join(path, "adapter")
		if !exists(inner) {
			return nil, fmt.Errorf("%s: the run has no adapter yet: it was interrupted; go on with graft train … --resume", path)
		}
		if exists(filepath.Join(inner, "config.json")) {
			model = inner // a full checkpoint
		} else {
			adapter = inner
		}
	case exists(filepath.Join(path, peft.ConfigFile)):
		adapter = path
	case exists(filepath.Join(path, "config.json")):
		if model != "" && model != path {
			return nil, usagef("%s is a model and --base names another", path)
		}
		model = path
	default:
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%s: no such model, adapter or run folder", path)
		}
		return nil, fmt.Errorf("%s: no config.json, adapter_config.json or environment.json in it, want a model, adapter or run folder", path)
	}
	s := &subject{folder: adapter}
	var err error
	if adapter != "" {
		if s.config, err = methods.ReadConfig(adapter); err != nil {
			return nil, err
		}
		if model == "" {
			if model, err = s.baseOf(adapter); err != nil {
				return nil, err
			}
		}
	}
	if s.base, err = openFiles(model, arithmetic{compute: c.String("compute"), quantize: c.String("quantize")}); err != nil {
		return nil, err
	}
	if adapter == "" {
		err = s.load(c.Context, nil)
		s.pare()
		sayUnpacked(c.App.ErrWriter, model, s.unpacked)
		return s, err
	}
	want, err := wantOf(adapter, s.config.Shared(), s.base.config)
	if err != nil {
		return nil, err
	}
	if err := s.load(c.Context, want); err != nil {
		return nil, err
	}
	s.pare()
	sayUnpacked(c.App.ErrWriter, model, s.unpacked)
	if s.config, s.adapter, err = methods.Load(adapter, s.model, allowed(c)); err != nil {
		s.close()
		if errors.Is(err, peft.ErrOtherBase) {
			err = fmt.Errorf("%w (--allow-other-base attaches it all the same)", err)
		}
		return nil, err
	}
	if missing := untrained(s.model, paramNames(s.adapter)); len(missing) > 0 {
		s.close()
		return nil, fmt.Errorf("peft: %s: neither the adapter nor its base %s has the head's tensors %q", adapter, model, missing)
	}
	return s, nil
}

// baseOf is the base that an adapter names, if it is there.
func (s *subject) baseOf(adapter string) (string, error) {
	name := s.config.Shared().BaseModel
	if name == "" {
		return "", usagef("%s: adapter_config.json names no base_model_name_or_path, want --base FOLDER", adapter)
	}
	if strings.HasPrefix(name, recipes.Builtin) {
		return name, nil
	}
	if !exists(filepath.Join(name, "config.json")) {
		return "", usagef("%s: its base %q is not a folder here, want --base FOLDER", adapter, name)
	}
	return name, nil
}

// atMost refuses more arguments than a command has a use for.
func atMost(c *cli.Context, n int) error {
	if c.NArg() > n {
		return usagef("%s: %d arguments, want at most %d", c.Command.Name, c.NArg(), n)
	}
	return nil
}

// one is the single argument of a command.
func one(c *cli.Context, what string) (string, error) {
	if c.NArg() != 1 {
		return "", usagef("%s: %d arguments, want one %s", c.Command.Name, c.NArg(), what)
	}
	return c.Args().First(), nil
}
