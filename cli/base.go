package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"sync"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/tokenizer"
)

// base is a model with its tokenizer, as a folder or the program itself holds them.
type base struct {
	path   string
	files  fs.FS
	config *model.Config
	src    *checkpoint.Checkpoint // nil if the weights are random
	model  *model.Model
	tok    *tokenizer.Tokenizer // nil if the folder has none
	mode   kernel.Mode
	bits   quantization
	fixed  bool  // nothing trains the weights themselves
	spared int64 // bytes of the file that are not read after loading: weights are kept in another form

	tokenizerHash string         // of the files that the tokenizer was read from
	later         sync.WaitGroup // what is written for later runs meanwhile

	unpacked *merge.Unpacked // nil if the weights are stored as they are
}

// arithmetic says how a model is kept and computed, in the words of recipes.
type arithmetic struct {
	compute, quantize string
	trained           bool // the weights themselves
}

// quantization is how the frozen projections are kept.
type quantization struct {
	kernel.DType
	on, head bool // head: that of the model, too
}

// headToo is what follows the name of a type that is the head's as well.
const headToo = "+head"

// apply quantises a model.
func (q quantization) apply(m *model.Model) (spared int64) {
	if q.on {
		spared += m.Quantise(q.DType)
	}
	if q.head {
		spared += m.QuantiseHead(q.DType)
	}
	return spared
}

// arithmeticOf is what a recipe says.
func arithmeticOf(r *recipes.Recipe) arithmetic {
	return arithmetic{r.Model.Compute, r.Model.Quantize, r.Method.TrainsBase()}
}

// parseQuantization reads the value of quantize.
func parseQuantization(text string) (quantization, error) {
	if text == "" || text == "none" {
		return quantization{}, nil
	}
	name, head := strings.CutSuffix(text, headToo)
	for _, d := range []kernel.DType{kernel.I8, kernel.NF4, kernel.Lossless} {
		if d.String() == name {
			return quantization{d, true, head}, nil
		}
	}
	return quantization{}, usagef("model: quantize: %q, want none, int8, nf4 or lossless, the last three alone or with %s", text, headToo)
}

// openFolder opens a path of a recipe as a folder of files.
func openFolder(path string) (fs.FS, error) {
	if name, ok := strings.CutPrefix(path, recipes.Builtin); ok {
		if name != "quickstart" {
			return nil, usagef("model.path is %q, want a folder or \"builtin:quickstart\"", path)
		}
		return recipes.Quickstart(), nil
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("model: %s is a file, want the folder that holds config.json and model.safetensors", path)
	}
	return os.DirFS(path), nil
}

// openBase opens a model with frozen weights and its own head.
func openBase(ctx context.Context, path string, how arithmetic) (*base, error) {
	b, err := openFiles(path, how)
	if err != nil {
		return nil, err
	}
	err = b.load(ctx, nil)
	b.pare()
	return b, err
}

// load makes the model over its weights, with its own head or with that which a task wants.
func (b *base) load(ctx context.Context, w *model.Want) (err error) {
	if strings.HasPrefix(b.path, recipes.Builtin) {
		b.src, err = checkpoint.OpenFS(b.files)
	} else {
		b.src, b.unpacked, err = openWeights(ctx, b.path)
	}
	if err != nil {
		return err
	}
	if w == nil {
		b.model, err = model.Load(b.src)
	} else {
		b.model, err = model.LoadFor(b.src, *w)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", b.path, err), b.src.Close())
	}
	b.config = b.model.Config
	if b.spared, err = b.keep(b.model); err != nil {
		return errors.Join(err, b.src.Close())
	}
	b.forget()
	return nil
}

// keep brings the weights of a model into the form that they are computed with, where that is not the file's. It returns how many
// bytes of the file are not read after that.
func (b *base) keep(m *model.Model) (spared int64, err error) {
	spared = b.bits.apply(m)
	if spared == 0 && b.bits.on && b.bits.DType == kernel.Lossless {
		return 0, usagef("model: quantize is lossless, which is for weights stored in bf16: %s has none; want none, int8 or nf4", b.path)
	}
	if b.mode == kernel.ModeBF16 && b.fixed {
		spared += m.Round(b.release)
	}
	return spared, nil
}

// forget gives back memory of the file if much of it is not read any more.
func (b *base) forget() {
	if b.spared > 0 {
		b.release()
	}
}

// pare keeps garbage small once all is prepared, where weights are memory of the program's own: by itself it may become as much as these.
func (b *base) pare() {
	if b.spared > 0 {
		keepLittle()
	}
}

// release gives back memory of the file; what is read again comes from it again.
func (b *base) release() {
	if b.src != nil {
		b.src.Forget()
	}
}

// draw makes the model with random weights by its config.json, with the head that a task wants.
func (b *base) draw(w model.Want, seed uint64) (err error) {
	b.model, err = model.NewFor(b.config, w, rand.New(rand.NewPCG(seed, 1)))
	return err
}

// openFiles opens the folder with its tokenizer.
func openFiles(path string, how arithmetic) (*base, error) {
	b := &base{path: path, mode: kernel.DefaultMode(), fixed: !how.trained}
	var err error
	if how.compute != "" && how.compute != "auto" {
		if b.mode, err = kernel.ParseMode(how.compute); err != nil {
			return nil, usageError{err}
		}
	}
	if b.bits, err = parseQuantization(how.quantize); err != nil {
		return nil, err
	}
	if b.files, err = openFolder(path); err != nil {
		return nil, err
	}
	if tokenizer.Found(b.files) {
		if err := b.openTokenizer(b.files); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	raw, err := fs.ReadFile(b.files, "config.json")
	if err != nil {
		return nil, fmt.Errorf("model: %s: %w", path, err)
	}
	if b.config, err = model.ParseConfig(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, b.checkTokenizer()
}

// openTokenizer reads the tokenizer of a folder.
func (b *base) openTokenizer(fsys fs.FS) (err error) {
	w := newWitness(fsys)
	b.tok, err = tokenizer.Open(w)
	b.tokenizerHash = w.hash()
	return err
}

// checkTokenizer refuses a tokenizer that knows tokens for which the model has no embedding.
func (b *base) checkTokenizer() error {
	if b.tok != nil && b.tok.VocabSize() > b.config.VocabSize {
		return fmt.Errorf("model: %s: tokenizer.json has %d tokens, vocab_size in config.json is %d: this is another model's tokenizer",
			b.path, b.tok.VocabSize(), b.config.VocabSize)
	}
	return nil
}

// checkFinite refuses weights that hold NaN or infinity, from which nothing can be learnt.
func (b *base) checkFinite(ctx context.Context) error {
	if b.src == nil {
		return nil
	}
	for _, name := range b.src.Names() {
		if i, not := b.src.FirstNonFinite(name); not {
			return fmt.Errorf("model: %s: tensor %q has at %d no finite number", b.path, name, i)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// needText says what is missing to read text.
func (b *base) needText() error {
	if b.tok == nil {
		return fmt.Errorf("model: %s has no tokenizer.json, which is needed to read text", b.path)
	}
	return nil
}

// needGenerate says what is missing to continue a text; a model that tells a text of a source does as well if sources are at hand.
func (b *base) needGenerate(sources bool) error {
	check := b.model.CheckGenerates
	if sources {
		check = b.model.CheckDecodes
	}
	if err := check(); err != nil {
		return fmt.Errorf("%s: %w; graft predict has it do what it is for", b.path, err)
	}
	return b.needText()
}

func (b *base) close() {
	b.later.Wait()
	if b.src != nil {
		b.src.Close()
	}
}
