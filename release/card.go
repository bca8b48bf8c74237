package release

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Card is a model card.
type Card struct {
	Name     string
	Base     string // the base's name, as on the Hub if it is there
	Merged   bool   // the folder holds a whole model
	Full     bool   // every weight was trained
	Library  string // that loads it: peft, transformers, adapters
	Pipeline string // pipeline_tag; "" = none
	Method   string
	Trained  int64 // numbers
	Tags     []string
	License  string // "" leaves it to the author
	Data     []Fact
	Figures  *Figures // nil = nothing was held out
	Recipe   []byte
}

// Markdown is README.md, with the front matter that the Hub reads.
func (c *Card) Markdown() []byte {
	var b bytes.Buffer
	c.frontMatter(&b)
	fmt.Fprintf(&b, "\n# %s\n\n%s\n", oneLine(c.Name), c.summary())
	b.WriteString("\n<!-- To be written by the author: what the model is for, what it is not for, known faults. -->\n")
	c.facts(&b)
	c.results(&b)
	c.data(&b)
	c.use(&b)
	fmt.Fprintf(&b, "\n## Recipe\n\nThe run is repeated by `graft train recipe.toml`.\n\n```toml\n%s\n```\n", strings.TrimRight(string(c.Recipe), "\n"))
	b.WriteString("\n## Licence\n\n")
	if c.License == "" {
		b.WriteString("<!-- To be filled in here and as license: above. The base's licence and that of the data may bind it. -->\n")
	} else {
		fmt.Fprintf(&b, "%s\n", oneLine(c.License))
	}
	return b.Bytes()
}

// frontMatter is YAML; its strings are JSON's, which YAML reads alike.
func (c *Card) frontMatter(b *bytes.Buffer) {
	relation := "adapter"
	if c.Merged || c.Full {
		relation = "finetune"
	}
	b.WriteString("---\n")
	if c.Base != "" {
		fmt.Fprintf(b, "base_model: %s\nbase_model_relation: %s\n", quoted(c.Base), relation)
	}
	fmt.Fprintf(b, "library_name: %s\n", quoted(c.Library))
	if c.Pipeline != "" {
		fmt.Fprintf(b, "pipeline_tag: %s\n", quoted(c.Pipeline))
	}
	if c.License == "" {
		b.WriteString("# license: to be filled in by the author, such as apache-2.0\n")
	} else {
		fmt.Fprintf(b, "license: %s\n", quoted(c.License))
	}
	b.WriteString("tags:\n")
	for _, t := range c.Tags {
		fmt.Fprintf(b, "- %s\n", quoted(t))
	}
	b.WriteString("---\n")
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""` // no string fails
	}
	return string(b)
}

// oneLine is a name within Markdown.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (c *Card) summary() string {
	what := fmt.Sprintf("An adapter (%s) of", c.Method)
	switch {
	case c.Full:
		what = "A fine-tuned form of"
	case c.Merged:
		what = fmt.Sprintf("A fine-tuned form (%s, folded in) of", c.Method)
	}
	base := "a base model"
	if c.Base != "" {
		base = "`" + oneLine(c.Base) + "`"
	}
	return fmt.Sprintf("%s %s, made with [graft](https://github.com/graft-ml/graft).", what, base)
}

// facts tells what ran.
func (c *Card) facts(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## What it is\n\n| | |\n|---|---|\n| method | %s |\n| trained numbers | %d |\n", c.Method, c.Trained)
	if c.Figures == nil {
		return
	}
	for _, f := range c.Figures.Facts {
		if f.Name != "method" {
			fmt.Fprintf(b, "| %s | %s |\n", cell(f.Name), cell(f.Value))
		}
	}
}

// cell is a text within a table.
func cell(s string) string { return strings.ReplaceAll(oneLine(s), "|", `\|`) }

// results tells how well it does.
func (c *Card) results(b *bytes.Buffer) {
	b.WriteString("\n## How well it does\n\n")
	if c.Figures == nil {
		b.WriteString("No rows were held out, so nothing was measured.\n")
		return
	}
	fmt.Fprintf(b, "On %d held-out examples:\n\n| model | loss per target (nats) | 95 %% interval |\n|---|---|---|\n", c.Figures.Examples)
	for _, l := range c.Figures.Losses {
		fmt.Fprintf(b, "| %s | %.4f | %.4f–%.4f |\n", cell(l.Name), l.Loss, l.Low, l.High)
	}
	if len(c.Figures.Scores) == 0 {
		return
	}
	b.WriteString("\n| score | value |\n|---|---|\n")
	for _, s := range c.Figures.Scores {
		fmt.Fprintf(b, "| %s: %s | %.4f |\n", s.Section, strings.ReplaceAll(s.Name, "_", " "), s.Value)
	}
}

func (c *Card) data(b *bytes.Buffer) {
	b.WriteString("\n## Data\n\n<!-- To be completed by the author: where the data come from, and their licence. -->\n\n| | |\n|---|---|\n")
	for _, f := range c.Data {
		fmt.Fprintf(b, "| %s | %s |\n", cell(f.Name), cell(f.Value))
	}
}

// use shows how the folder is loaded.
func (c *Card) use(b *bytes.Buffer) {
	b.WriteString("\n## Use\n\n```sh\n")
	verb := "generate . --prompt '…'"
	if c.Pipeline != "" && c.Pipeline != textGeneration {
		verb = "predict . rows.jsonl"
	}
	if c.Merged || c.Full {
		fmt.Fprintf(b, "graft %s\n```\n", verb)
		return
	}
	base := c.Base
	if base == "" {
		base = "BASE"
	}
	fmt.Fprintf(b, "graft %s --base models/base    # a folder with %s\n```\n", verb, oneLine(base))
	if c.Library == "peft" {
		fmt.Fprintf(b, "\n```python\nfrom peft import PeftModel\nfrom transformers import AutoModel\n\nmodel = PeftModel.from_pretrained(AutoModel.from_pretrained(%s), \".\")\n```\n", quoted(base))
	}
}

const textGeneration = "text-generation"

// Pipelines are the Hub's names for tasks.
var Pipelines = map[string]string{"causal-lm": textGeneration, "seq2seq-lm": "text2text-generation", "seq-cls": "text-classification", "token-cls": "token-classification",
	"question-answering": "question-answering", "masked-lm": "fill-mask"}
