package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graft-ml/graft/adapter"
	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/release"
	"github.com/urfave/cli/v2"
)

// cardFile is the model card.
const cardFile = "README.md"

func (e *env) releaseCommand() *cli.Command {
	return &cli.Command{
		Name:      "release",
		Usage:     "make of a finished run what can be published: adapter or merged model, model card, hashes",
		ArgsUsage: "RUN OUT",
		UsageText: "graft release runs/first first-lora --base-model org/base --license apache-2.0\ngraft release runs/first first-merged --merged --archive",
		Description: "OUT holds the adapter, or with --merged the whole model; README.md with the front matter of the Hugging Face Hub, the method, the data\n" +
			"and the figures of the run's report; recipe.toml; SHA256SUMS. What the model is for, where the data come from and, without --license,\n" +
			"the licence are left to you, marked in README.md. --archive writes OUT.tar.gz, too: the same release gives the same bytes.",
		Flags: append(modelFlags(),
			&cli.BoolFlag{Name: "merged", Usage: "fold the adapter into its base and release the whole model"},
			&cli.StringFlag{Name: "dtype", Usage: "with --merged: f32, f16 or bf16 instead of each tensor's own"},
			&cli.BoolFlag{Name: "archive", Usage: "write OUT.tar.gz, too"},
			&cli.StringFlag{Name: "name", Usage: "title of the card; the run's name without"},
			&cli.StringFlag{Name: "base-model", Usage: "the base's name on the Hub, such as org/name, for README.md and adapter_config.json"},
			&cli.StringFlag{Name: "license", Usage: "licence, as the Hub abbreviates it"},
			&cli.BoolFlag{Name: "force", Usage: "replace a release that is there"}, jsonFlag()),
		Action: e.release,
	}
}

// released says what was written.
type released struct {
	Out     string   `json:"out"`
	Kind    string   `json:"kind"` // adapter, model
	Files   []string `json:"files"`
	Bytes   int64    `json:"bytes"`
	Archive string   `json:"archive,omitempty"`
	Todo    []string `json:"todo"` // what is left to the author
}

func (e *env) release(c *cli.Context) error {
	if c.NArg() != 2 {
		return usagef("release: %d arguments, want a run and the folder to write", c.NArg())
	}
	run, out := c.Args().Get(0), filepath.Clean(c.Args().Get(1))
	if err := checkRelease(c, run, out); err != nil {
		return err
	}
	s, err := openSubject(c, run)
	if err != nil {
		return err
	}
	defer s.close()
	p := &parcel{c: c, subject: s, run: run, out: out}
	if err := p.read(); err != nil {
		return err
	}
	view := newProgress(e.stderr, 1)
	defer view.end()
	if err := atomicfile.WriteDir(out, c.Bool("force"), func(dir string) error { return p.fill(dir, view) }); err != nil {
		return err
	}
	r, err := p.told()
	if err != nil {
		return err
	}
	if c.Bool("archive") {
		r.Archive = out + ".tar.gz"
		view.stage("packing")
		err := atomicfile.Write(r.Archive, func(w io.Writer) error { return release.Archive(w, os.DirFS(out), filepath.Base(out)) })
		if err != nil {
			return err
		}
	}
	view.end()
	if c.Bool("json") {
		return e.printJSON(r)
	}
	return e.printRelease(r)
}

// checkRelease looks at all that can be wrong before a model is opened.
func checkRelease(c *cli.Context, run, out string) error {
	switch {
	case !exists(run):
		return fmt.Errorf("release: %s: no such run folder", run)
	case !exists(filepath.Join(run, "environment.json")):
		return usagef("release: %s has no environment.json, want the folder of a run", run)
	case c.IsSet("dtype") && !c.Bool("merged"):
		return usagef("release: --dtype is for --merged")
	case c.IsSet("dtype") && !slices.Contains(merge.DTypes(), c.String("dtype")):
		return usagef("release: --dtype is %q, want one of %s", c.String("dtype"), strings.Join(merge.DTypes(), ", "))
	case within(run, out):
		return usagef("release: %s is or holds the run %s, want another folder", out, run)
	}
	if archive := out + ".tar.gz"; c.Bool("archive") && exists(archive) && !c.Bool("force") {
		return usagef("release: %s exists already (--force replaces it)", archive)
	}
	entries, err := os.ReadDir(out)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(entries) == 0:
		return nil
	case err != nil:
		return fmt.Errorf("release: %w", err)
	case c.Bool("force") && exists(filepath.Join(out, release.SumsFile)):
		return nil
	case c.Bool("force"):
		return usagef("release: %s holds no release, so it is not replaced; remove it yourself", out)
	}
	return usagef("release: %s exists already (--force replaces a release)", out)
}

// parcel is a release on its way.
type parcel struct {
	*subject
	c        *cli.Context
	run, out string
	recipe   []byte
	card     release.Card
}

// full says that every weight was trained: the run's result is a model.
func (p *parcel) full() bool { return p.adapter == nil }

// read makes the card of what the run's folder says.
func (p *parcel) read() error {
	var err error
	if p.recipe, err = os.ReadFile(filepath.Join(p.run, "recipe.toml")); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	r, err := recipes.Load(filepath.Join(p.run, "recipe.toml"), p.recipe, nil)
	if err != nil {
		return err
	}
	p.card = release.Card{Name: cmp.Or(p.c.String("name"), runName(p.run)), Merged: p.c.Bool("merged"), Full: p.full(), Pipeline: release.Pipelines[r.Model.Task],
		Method: r.Method.Type, License: p.c.String("license"), Base: p.baseName(r), Library: p.library(), Tags: []string{"graft", r.Method.Type}, Recipe: p.recipe,
		Data: dataFacts(r)}
	if p.full() {
		for _, w := range p.model.Weights() {
			n := int64(1)
			for _, d := range w.Shape {
				n *= int64(d)
			}
			p.card.Trained += n
		}
	} else {
		p.card.Trained = peft.NumParams(p.adapter)
	}
	b, err := os.ReadFile(filepath.Join(p.run, release.ReportFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was held out
	}
	if err == nil {
		p.card.Figures, err = release.ReadFigures(b)
	}
	return err
}

// baseName is what the card calls the base: as told, or a folder's own name without the folders above it.
func (p *parcel) baseName(r *recipes.Recipe) string {
	name := r.Model.Path
	if p.config != nil {
		name = cmp.Or(p.config.Shared().BaseModel, name)
	}
	if !strings.HasPrefix(name, recipes.Builtin) {
		name = filepath.Base(name)
	}
	return cmp.Or(p.c.String("base-model"), name)
}

// library is what loads the release.
func (p *parcel) library() string {
	if p.full() || p.c.Bool("merged") {
		return "transformers"
	}
	for _, name := range adapter.HubFiles {
		if exists(filepath.Join(p.folder, name)) {
			return "adapters"
		}
	}
	return "peft"
}

// dataFacts describe the rows, without the folders that they lay in.
func dataFacts(r *recipes.Recipe) (list []release.Fact) {
	add := func(name, value string) {
		if value != "" {
			list = append(list, release.Fact{Name: name, Value: value})
		}
	}
	named := func(path string) string {
		if path == "" {
			return ""
		}
		return filepath.Base(path)
	}
	add("training rows from", named(r.Data.Path))
	for _, s := range r.Data.Sources {
		add("training rows from", named(s.Path))
	}
	add("shape", r.Data.Shape)
	add("held-out rows from", named(r.Data.EvalPath))
	if r.Data.EvalFraction > 0 {
		add("held out", fmt.Sprintf("%g of the rows", r.Data.EvalFraction))
	}
	return list
}

// fill writes the release into a folder.
func (p *parcel) fill(dir string, view *progress) error {
	var err error
	if p.c.Bool("merged") && !p.full() {
		err = p.fold(dir, view)
	} else {
		err = p.copyResult(dir)
	}
	if err != nil {
		return err
	}
	err = errors.Join(atomicfile.WriteBytes(filepath.Join(dir, cardFile), p.card.Markdown()), atomicfile.WriteBytes(filepath.Join(dir, "recipe.toml"), p.recipe))
	if err != nil {
		return err
	}
	view.stage("hashing")
	return release.WriteSums(dir)
}

// fold writes the merged model.
func (p *parcel) fold(dir string, view *progress) error {
	m, ok := p.adapter.(peft.Merger)
	if !ok {
		return usagef("release: what this adapter trained is no change of weights and cannot be folded; release it without --merged")
	}
	about, err := aboutAdapter(p.c.Context, p.folder, false)
	if err != nil {
		return err
	}
	inner := filepath.Join(dir, "model")
	job := merge.Job{Base: p.src, Deltas: m.Deltas(), Ties: peft.Ties(p.model), Out: inner, DType: p.c.String("dtype"), Adapter: about, Version: version(),
		Keep: func(name string) bool {
			return slices.Contains(companions, name) || strings.HasPrefix(name, "additional_chat_templates/")
		},
		Progress: view.amount("merging", bytesText)}
	p.withHead(&job)
	if _, err := merge.Fold(p.c.Context, job); err != nil {
		return err
	}
	entries, err := os.ReadDir(inner)
	for _, d := range entries {
		err = errors.Join(err, os.Rename(filepath.Join(inner, d.Name()), filepath.Join(dir, d.Name())))
	}
	return errors.Join(err, os.Remove(inner))
}

// copyResult copies what the run ended in, with the base's name in it if one was given.
func (p *parcel) copyResult(dir string) error {
	from := filepath.Join(p.run, "adapter")
	return fs.WalkDir(os.DirFS(from), ".", func(name string, d fs.DirEntry, err error) error {
		to := filepath.Join(dir, filepath.FromSlash(name))
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(to, 0o777)
		case name == peft.ConfigFile && p.c.IsSet("base-model"):
			return p.renameBase(filepath.Join(from, name), to)
		}
		src, err := os.Open(filepath.Join(from, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		defer src.Close()
		return atomicfile.Write(to, func(w io.Writer) error { _, err := io.Copy(w, src); return err })
	})
}

// renameBase copies adapter_config.json with another name of the base.
func (p *parcel) renameBase(from, to string) error {
	config, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	name, err := json.Marshal(p.c.String("base-model"))
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(to, checkpoint.SetConfig(config, "base_model_name_or_path", string(name)))
}

// told lists the files of the finished release.
func (p *parcel) told() (*released, error) {
	r := &released{Out: p.out, Kind: "adapter", Todo: []string{"what the model is for", "where the data come from"}}
	if p.full() || p.c.Bool("merged") {
		r.Kind = "model"
	}
	if p.card.License == "" {
		r.Todo = append(r.Todo, "the licence")
	}
	if !p.c.IsSet("base-model") {
		r.Todo = append(r.Todo, fmt.Sprintf("the base's name on the Hub: it is %q (--base-model)", p.card.Base))
	}
	err := filepath.WalkDir(p.out, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(p.out, path)
		r.Files, r.Bytes = append(r.Files, filepath.ToSlash(rel)), r.Bytes+st.Size()
		return err
	})
	return r, err
}

func (e *env) printRelease(r *released) error {
	t := newPairs(e.stdout)
	t.add("written", fmt.Sprintf("%s, %s in %d files: %s", r.Out, bytesText(r.Bytes), len(r.Files), r.Kind))
	t.add("files", strings.Join(r.Files, " "))
	if r.Archive != "" {
		t.add("archive", r.Archive)
	}
	for _, todo := range r.Todo {
		t.add("left to you", todo)
	}
	return t.flush()
}
