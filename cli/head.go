package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
)

// headFile lies in an adapter's folder and holds what config.json of a model with the adapter's head says about it: the names
// of the labels, above all. PEFT's own files have no place for them.
const headFile = "head.json"

// writeHead writes headFile for a model whose head is not its base's own.
func (p *plan) writeHead(dir string) error {
	if writes(p.task.Head) {
		return nil
	}
	b, err := json.MarshalIndent(p.base.model.Config.HeadFields(), "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", headFile, err)
	}
	return atomicfile.WriteBytes(filepath.Join(dir, headFile), append(b, '\n'))
}

// headFields are those of headFile and config.json.
type headFields struct {
	Architectures []string          `json:"architectures"`
	ID2Label      map[string]string `json:"id2label"`
	ProblemType   string            `json:"problem_type"`
}

// wantOf is the head that an adapter was trained with: by its headFile, or by its task_type and the shape of the head that it
// stores. Nil means that of the base.
func wantOf(adapter string, c *peft.Common, own *model.Config) (*model.Want, error) {
	w := &model.Want{RNG: rand.New(rand.NewPCG(0, 0))} // what it draws, the adapter replaces
	name := filepath.Join(adapter, headFile)
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		t, ok := byType(c.TaskType)
		if !ok || t.Head == own.HeadKind() && !t.Head.HasLabels() {
			return nil, nil
		}
		w.Kind = t.Head
		return w, countLabels(w, adapter, own)
	}
	if err != nil {
		return nil, fmt.Errorf("peft: %w", err)
	}
	var f headFields
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("peft: %s: want an object with architectures, id2label, problem_type: %w", name, err)
	}
	ok := false
	if len(f.Architectures) > 0 {
		w.Kind, ok = model.ParseHeadKind(f.Architectures[0])
	}
	if !ok {
		return nil, fmt.Errorf("peft: %s: architectures are %q, want the class of a model with a head", name, f.Architectures)
	}
	w.ProblemType = f.ProblemType
	for i := range len(f.ID2Label) {
		label, ok := f.ID2Label[strconv.Itoa(i)]
		if !ok {
			return nil, fmt.Errorf("peft: %s: id2label has no %d, want 0 to %d", name, i, len(f.ID2Label)-1)
		}
		w.Labels = append(w.Labels, label)
	}
	return w, nil
}

// countLabels finds how many labels there are by the output projection that the adapter stores.
func countLabels(w *model.Want, adapter string, own *model.Config) error {
	if !w.Kind.HasLabels() {
		return nil
	}
	file, err := methods.OpenTensors(adapter)
	if err != nil {
		return err
	}
	defer file.Close()
	out := own.Output(w.Kind) + ".weight"
	for _, name := range []string{peft.Prefix + out, out} {
		if info, ok := file.Info(name); ok && len(info.Shape) == 2 {
			if n := info.Shape[0]; n != own.Classes() || own.HeadKind() != w.Kind {
				w.Labels = model.DefaultLabels(n)
			}
			return nil
		}
	}
	return nil // loading says what is missing
}

// untrained lists the tensors of a head that were drawn and that no parameter replaces, by the parameters' names: those of the
// checkpoint, or with what PEFT puts before them.
func untrained(m *model.Model, params map[string]bool) (names []string) {
	have := map[string]bool{}
	for name := range params {
		have[strings.TrimPrefix(strings.TrimPrefix(name, "base_model."), "model.")] = true
		have[name] = true
	}
	for slot := range m.Slots() { // a bias may lie elsewhere in the checkpoint
		if have[slot.Name+".bias"] {
			have[slot.Param("bias")] = true
		}
	}
	for _, name := range m.Fresh {
		if !have[name] {
			names = append(names, name)
		}
	}
	return names
}

// withHead adds a head that the base lacks to a merge, and to its config.json.
func (s *subject) withHead(j *merge.Job) {
	if s.model.Kind == model.NextToken {
		return
	}
	j.Fields = s.model.Config.HeadFields()
	for _, name := range s.model.Fresh {
		j.Added = append(j.Added, strings.TrimPrefix(name, s.model.Prefix))
	}
	if len(j.Added) > 0 {
		j.Name = s.model.FullName
	}
}

// paramNames are the names of an adapter's parameters.
func paramNames(a peft.Adapter) map[string]bool {
	names := map[string]bool{}
	for name := range a.Params() {
		names[name] = true
	}
	return names
}
