package interchange

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
)

// Consumer is a program that reads PEFT folders, with what it refuses of them.
type Consumer struct {
	Name  string
	Says  string // which program, in which version
	Rules []Rule
}

// Rule is one thing that a program refuses, or reads as something else.
type Rule struct {
	Name   string
	Source string // where the program says so
	// Wrong says that the program loads the adapter and computes something else; without it, it refuses.
	Wrong bool
	// Base says that the rule needs the base's config.json, Weights that it needs the model.
	Base, Weights bool
	// Find lists what the program would object to.
	Find func(c *Case) []string
}

// Case is an adapter folder as the rules see it.
type Case struct {
	Dir     string
	Config  peft.Object
	Tensors []checkpoint.Info
	Base    *model.Config // nil = not known
	Model   layer.Model   // nil = not known
	MaxRank int           // of vLLM's --max-lora-rank
	Foreign string        // why the folder is none of PEFT's, of another library; "" = it is PEFT's
}

// Finding is what a rule found.
type Finding struct {
	Consumer string   `json:"consumer"`
	Rule     string   `json:"rule"`
	Verdict  string   `json:"verdict"` // ok, refuses, misreads, not checked
	Found    []string `json:"found,omitempty"`
	Source   string   `json:"source"`
}

// Verdicts.
const (
	OK         = "ok"
	Refuses    = "refuses"
	Misreads   = "misreads"
	NotChecked = "not checked"
)

// Consumers is the table of programs.
var Consumers = []Consumer{
	{Name: "peft", Says: "Hugging Face PEFT 0.21", Rules: peftRules},
	{Name: "vllm", Says: "vLLM 0.11 and later", Rules: vllmRules},
	{Name: "llama.cpp", Says: "llama.cpp's convert_lora_to_gguf.py and its loader, of 2026", Rules: llamaRules},
}

// ConsumerNames lists the programs.
func ConsumerNames() (list []string) {
	for _, c := range Consumers {
		list = append(list, c.Name)
	}
	return list
}

// OpenCase reads an adapter folder for the rules.
func OpenCase(dir string) (*Case, error) {
	if isAdapters(dir) {
		return &Case{Dir: dir, Foreign: foreign(dir)}, nil
	}
	if !isPEFT(dir) {
		return nil, fmt.Errorf("interchange: %s: no folder of PEFT's (graft convert adapter makes one)", dir)
	}
	c := &Case{Dir: dir, MaxRank: 16}
	if c.Config = configOf(dir); c.Config == nil {
		_, err := readPEFT(dir, Options{})
		return nil, fmt.Errorf("interchange: %s: %w", dir, err)
	}
	file, err := peft.OpenTensors(dir)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for _, name := range file.Names() {
		info, _ := file.Info(name)
		c.Tensors = append(c.Tensors, info)
	}
	return c, nil
}

// foreign says why no other program reads a folder of the library `adapters`, and what can be done about it.
func foreign(dir string) string {
	const what = "a folder of the library adapters, whose files no other program reads"
	if _, err := readAdapters(dir, Options{}); err != nil {
		return what + "; it cannot be converted: " + err.Error()
	}
	return what + "; graft convert adapter makes one of PEFT of it (--to peft)"
}

// Check holds an adapter to the rules of a program.
func (x *Consumer) Check(c *Case) (list []Finding) {
	if c.Foreign != "" {
		return []Finding{{Consumer: x.Name, Rule: "format", Verdict: Refuses, Found: []string{c.Foreign}, Source: "adapter_config.json has no peft_type"}}
	}
	for _, r := range x.Rules {
		f := Finding{Consumer: x.Name, Rule: r.Name, Verdict: OK, Source: r.Source}
		if r.Base && c.Base == nil || r.Weights && c.Model == nil {
			f.Verdict = NotChecked
		} else if f.Found = r.Find(c); len(f.Found) > 0 {
			f.Verdict = Refuses
			if r.Wrong {
				f.Verdict = Misreads
			}
		}
		list = append(list, f)
	}
	return list
}

// says is a finding if the config's value of a key is not one that means no.
func says(key string, usual ...any) func(c *Case) []string {
	return func(c *Case) []string {
		v := c.Config[key]
		if peft.SaysNo(v) || slices.ContainsFunc(usual, func(u any) bool { return fmt.Sprint(u) == fmt.Sprint(v) }) {
			return nil
		}
		return []string{fmt.Sprintf("%s is %s", key, shown(v))}
	}
}

// shown is a value of a config in few characters.
func shown(v any) string {
	b, _ := json.Marshal(v) // it came out of JSON
	return fmt.Sprintf("%.60s", b)
}

// onlyLoRA is a finding for every other method.
func onlyLoRA(c *Case) []string {
	if c.Config["peft_type"] == "LORA" {
		return nil
	}
	return []string{fmt.Sprintf("peft_type is %s, and it reads LORA only", shown(c.Config["peft_type"]))}
}

// firstFew names the first things of a list and counts the others.
func firstFew(names []string, format string) []string {
	const few = 3
	if len(names) == 0 {
		return nil
	}
	text := strings.Join(names[:min(few, len(names))], ", ")
	if more := len(names) - few; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return []string{fmt.Sprintf(format, text)}
}

// named picks the names of tensors, without PEFT's prefix.
func (c *Case) named(pick func(name string) bool) (list []string) {
	for _, t := range c.Tensors {
		if name := strings.TrimPrefix(t.Name, peft.Prefix); pick(name) {
			list = append(list, name)
		}
	}
	return list
}

// isFactor says that a name is that of a lora_A or lora_B; module is what it belongs to.
func isFactor(name string) (module string, ok bool) {
	for _, f := range factors {
		if module, ok := strings.CutSuffix(name, f.end); ok {
			return module, true
		}
	}
	return "", false
}

// modules are the adapted modules.
func (c *Case) modules() (list []string) {
	for _, t := range c.Tensors {
		if m, ok := isFactor(strings.TrimPrefix(t.Name, peft.Prefix)); ok && !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}

// isBaseEmbedding says that a tensor is the base's own embedding or head, which vLLM and llama.cpp pass over.
func isBaseEmbedding(name string) bool {
	return strings.HasSuffix(name, "embed_tokens"+endBase) || strings.HasSuffix(name, "lm_head"+endBase)
}
