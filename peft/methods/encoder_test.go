package methods_test

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/train"
)

// embedding is what an encoder of virtual tokens begins with.
const embedding = "encoder.embedding.weight"

// encodes says that the adapter of the case was made by an encoder, which its file does not hold but the reference does.
func (x *fixture) encodes() bool {
	for _, name := range x.ref.Names() {
		if strings.HasPrefix(name, "grad.encoder.") {
			return true
		}
	}
	return false
}

// reencode puts an adapter with its encoder in the place of the loaded one. What it makes must be what the file holds.
func (x *fixture) reencode(t *testing.T) {
	t.Helper()
	if !x.encodes() {
		return
	}
	x.adapter.Detach()
	x.config.Shared().FromFile = false
	var err error
	if x.adapter, err = x.config.Attach(x.m, rand.New(rand.NewPCG(1, 2))); err != nil {
		t.Fatal(err)
	}
	for name, p := range x.adapter.Params() {
		if _, ok := x.ref.Info(name); ok {
			copy(op.Data(p), values(t, x.ref, name))
		} else if _, ok := x.ref.Info("encoder." + name); ok { // a module that is saved beside
			copy(op.Data(p), values(t, x.ref, "encoder."+name))
		} else if name == embedding {
			copy(op.Data(p), x.solveEmbedding(t))
		} else {
			t.Errorf("the reference has no %s", name)
		}
	}
	_, made := x.adapter.(peft.Converter).Convert(x.config)
	file := openAdapter(t, filepath.Join(x.path, "adapter"))
	for name, p := range made.Params() {
		check.Close(t, "what the encoder makes", x.used(op.Data(p)), x.used(values(t, file, name)), 2e-6, 1e-5) // sums of up to 48 terms, twice or three times
	}
}

// used are the virtual tokens that an encoder makes and a model uses: of one that reads a source only half of them, and from no gradient
// could the others be found. Other adapters are used as a whole.
func (x *fixture) used(v []float32) []float32 {
	if x.encodes() && x.m.Encoder != nil {
		return v[:len(v)/2]
	}
	return v
}

// solveEmbedding finds the embedding X of a P-tuning encoder, which the reference leaves out. Its first weights W and their
// gradients G'X, and the gradient D = Σ G·W of X, are there:
//
//	Z = Σ (G'X)'·W = X'·D, so X = (D·D')⁻¹·D·Z'
func (x *fixture) solveEmbedding(t *testing.T) []float32 {
	info, _ := x.ref.Info("grad.prompt_embeddings")
	n, dim := info.Shape[0], info.Shape[1]
	d := wide(values(t, x.ref, "grad.prompt_embeddings"))
	z := make([]float64, dim*dim)
	for _, name := range []string{"encoder.mlp_head.0.weight", "encoder.lstm_head.weight_ih_l0", "encoder.lstm_head.weight_ih_l0_reverse"} {
		info, ok := x.ref.Info(name)
		if !ok || info.Shape[1] != dim {
			continue
		}
		w, g := wide(values(t, x.ref, name)), wide(values(t, x.ref, "grad."+name))
		for h := range info.Shape[0] {
			for i := range dim {
				for j := range dim {
					z[i*dim+j] += g[h*dim+i] * w[h*dim+j]
				}
			}
		}
	}
	// Each row of [D·D' | D·Z'] is a row of the equations.
	rows := make([][]float64, n)
	for r := range rows {
		rows[r] = make([]float64, n+dim)
		for c := range n {
			for j := range dim {
				rows[r][c] += d[r*dim+j] * d[c*dim+j]
			}
		}
		for i := range dim {
			for j := range dim {
				rows[r][n+i] += d[r*dim+j] * z[i*dim+j]
			}
		}
	}
	eliminate(rows)
	var out []float32
	for _, row := range rows {
		for _, v := range row[n:] {
			out = append(out, float32(v))
		}
	}
	return out
}

// eliminate turns the square at the left of the rows into the identity.
func eliminate(rows [][]float64) {
	for c := range rows {
		pivot := rows[c][c] // the square is positive definite, but for rows without a gradient
		if pivot == 0 {
			continue
		}
		for j := range rows[c] {
			rows[c][j] /= pivot
		}
		for r := range rows {
			if f := rows[r][c]; r != c {
				for j := range rows[r] {
					rows[r][j] -= f * rows[c][j]
				}
			}
		}
	}
}

func wide(v []float32) []float64 {
	w := make([]float64, len(v))
	for i := range v {
		w[i] = float64(v[i])
	}
	return w
}

// encoderTrained compares an encoder after training.
func (x *fixture) encoderTrained(t *testing.T, params []train.Param) {
	if !x.encodes() {
		return
	}
	file := open(t, filepath.Join(x.path, "encoder_trained.safetensors"))
	for _, p := range params {
		if _, ok := file.Info(p.Name); ok {
			check.Close(t, "trained "+p.Name, p.Value, values(t, file, p.Name), 1e-4, 1e-3) // as in train
		}
	}
}
