package methods

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/graft-ml/graft/adapter"
	"github.com/graft-ml/graft/internal/synth"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
)

// Description is what there is to know about a method before one chooses it.
type Description struct {
	Name       string `json:"name"`
	Type       string `json:"peft_type,omitempty"`
	Settings   string `json:"settings"`             // that the numbers are for, beside PEFT's defaults
	Parameters int64  `json:"trainable_parameters"` // of the reference model
	Bytes      int64  `json:"file_bytes"`           // of all tensors in the adapter's file
	Mergeable  bool   `json:"mergeable"`            // can be folded into the base
	Mixed      bool   `json:"mixed_batch"`          // sequences of one batch may have different adapters of it, or none
	Source     string `json:"source"`
}

// Reference is the model that the numbers are for: TinyLlama's shape, 1.1 billion parameters.
const Reference = `{"model_type": "llama", "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": %d, "num_attention_heads": 32,
	"num_key_value_heads": 4, "vocab_size": 32000}`

// referenceLayers is the number of its layers, and referenceSize that of its numbers.
const (
	referenceLayers = 22
	referenceSize   = 1_100_048_384
)

// about is what a method's row says beside what is computed.
type about struct {
	name, source, settings string
}

// abouts has a row for each method, and one for the training of everything.
var abouts = []about{
	{"lora", "Hu et al. 2021, arXiv 2106.09685", ""},
	{"adalora", "Zhang et al. 2023, arXiv 2303.10512", `"total_step": 1000`},
	{"vera", "Kopiczko et al. 2023, arXiv 2310.11454", ""},
	{"loha", "Hyeon-Woo et al. 2021, arXiv 2108.06098", ""},
	{"lokr", "Yeh et al. 2023 (LyCORIS), arXiv 2309.14859", ""},
	{"miss", "Kang and Yin 2024, arXiv 2409.15371", ""},
	{"hira", "Huang et al. 2025, ICLR", ""},
	{"delora", "Bini et al. 2025, arXiv 2503.18225", ""},
	{"gralora", "Jung et al. 2025, arXiv 2505.20355", ""},
	{"randlora", "Albert et al. 2025, arXiv 2502.00987", ""},
	{"vblora", "Li et al. 2024, arXiv 2405.15179", ""},
	{"shira", "Bhardwaj et al. 2024, arXiv 2406.13175", ""},
	{"c3a", "Chen et al. 2024, arXiv 2407.19342", ""},
	{"fourierft", "Gao et al. 2024, arXiv 2405.03003", ""},
	{"waveft", "Bilican et al. 2025, arXiv 2505.12532", ""},
	{"tinylora", "arXiv 2602.04118", ""},
	{"pvera", "arXiv 2512.07703; to use, not to train", ""},
	{"peanut", "arXiv 2410.01870", ""},
	{"deft", "Kumar et al. 2025, NeurIPS", ""},
	{"glora", "Chavan et al. 2023, arXiv 2306.07967", ""},
	{"osf", "arXiv 2504.07097; to use, not to train", ""},
	{"frod", "arXiv 2512.23485", ""},
	{"unilora", "Li et al. 2025, arXiv 2506.00799", ""},
	{"freeze", "the last layers, the head, or both", `"trainable_layers": 2`},
	{"bitfit", "Zaken et al. 2021, arXiv 2106.10199", ""},
	{"adapters", "any method of the library adapters, by its config string", ""},
	{"houlsby", "Houlsby et al. 2019, arXiv 1902.00751", ""},
	{"pfeiffer", "Pfeiffer et al. 2020, arXiv 2005.00247", ""},
	{"parallel", "He et al. 2021, arXiv 2110.04366", ""},
	{"compacter", "Mahabadi et al. 2021, arXiv 2106.04647", ""},
	{"compacter++", "Mahabadi et al. 2021, arXiv 2106.04647", ""},
	{"ia3", "Liu et al. 2022, arXiv 2205.05638", `"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]`},
	{"oft", "Qiu et al. 2023, arXiv 2306.07280", ""},
	{"boft", "Liu et al. 2023, arXiv 2311.06243", ""},
	{"hra", "Yuan et al. 2024, arXiv 2405.17484", ""},
	{"road", "arXiv 2409.00119", ""},
	{"trainable_tokens", "rows of the embedding", `"token_indices": [0, 1, 2, 3]`},
	{"beft", "arXiv 2509.15974", ""},
	{"ln_tuning", "Zhao et al. 2023, arXiv 2312.11420", ""},
	{"prefix_tuning", "Li and Liang 2021, arXiv 2101.00190", `"num_virtual_tokens": 30`},
	{"prompt_tuning", "Lester et al. 2021, arXiv 2104.08691", `"num_virtual_tokens": 30`},
	{"p_tuning", "Liu et al. 2021, arXiv 2103.10385", `"num_virtual_tokens": 30`},
	{"adaption_prompt", "Zhang et al. 2023 (LLaMA-Adapter), arXiv 2303.16199", `"adapter_len": 10, "adapter_layers": 20`},
}

//go:embed methods.json
var described []byte

// Described are the rows of all methods, as Describe computes them; it takes no time.
func Described() (list []Description, err error) {
	return list, json.Unmarshal(described, &list)
}

// Describe computes the rows of all methods. The numbers are exact without a model of that size: a method's parameters are an affine
// function of the number of layers, so two small models tell them.
func Describe() ([]Description, error) {
	var list []Description
	for _, m := range All {
		d, err := describe(m)
		if err != nil {
			return nil, fmt.Errorf("methods: %s: %w", m.Name, err)
		}
		list = append(list, d)
	}
	return append(list, Description{Name: "full", Parameters: referenceSize, Bytes: 2 * referenceSize, Source: "every weight, written as bf16"}), nil
}

// Markdown is docs/methods.md.
func Markdown(list []Description) []byte {
	var b bytes.Buffer
	b.WriteString(`# Methods

Made by ` + "`go test ./peft/methods -run Described -update`; `graft ls methods`" + ` prints the same. The numbers are for a llama of 1.1 billion parameters (TinyLlama's shape)
with PEFT's defaults, which for most methods mean the projections of queries and values, and with the settings in the third column.

- *trained*: numbers that training changes; *file*: bytes of the tensors in the adapter's file, which may hold what is drawn once or what comes of a network.
- *folds*: ` + "`graft merge`" + ` can fold it into the base. *mixed*: sequences of one batch may have different adapters of it, or none.

| method | peft_type | settings | trained | file | folds | mixed | source |
|---|---|---|---|---|---|---|---|
`)
	for _, d := range list {
		settings := ""
		if d.Settings != "" {
			settings = "`" + d.Settings + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s | %s |\n", d.Name, d.Type, settings, d.Count(), d.Size(), yes(d.Mergeable), yes(d.Mixed), d.Source)
	}
	return b.Bytes()
}

// Count is the number of trained parameters in words; of what is not counted a dash.
func (d Description) Count() string { return counted(d.Parameters) }

// Size is the file's size in bytes in words.
func (d Description) Size() string { return counted(d.Bytes) }

func counted(n int64) string {
	if n == 0 {
		return "–"
	}
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// describe is the row of one method.
func describe(m peft.Method) (Description, error) {
	d := Description{Name: m.Name, Type: m.Type, Mixed: true}
	for _, a := range abouts {
		if a.name == m.Name {
			d.Settings, d.Source = a.settings, a.source
		}
	}
	if m.Name == lora.OSF.Name || m.Name == adapter.BitFit.Name { // would decompose every weight; has no bias there to count
		d.Mergeable = true
		return d, nil
	}
	first := 2
	if strings.Contains(d.Settings, "adapter_layers") {
		first = referenceLayers // it has a number of layers of its own
	}
	n1, b1, merges, err := size(m, d.Settings, first)
	if err != nil {
		return d, err
	}
	d.Parameters, d.Bytes, d.Mergeable = n1, b1, merges
	if first == referenceLayers {
		return d, nil
	}
	n2, b2, _, err := size(m, d.Settings, first+1)
	d.Parameters += (referenceLayers - 2) * (n2 - n1)
	d.Bytes += (referenceLayers - 2) * (b2 - b1)
	return d, err
}

// size attaches a method to the reference model of so many layers and counts.
func size(m peft.Method, settings string, layers int) (params, bytes int64, merges bool, err error) {
	src, err := synth.NewHollow(fmt.Appendf(nil, Reference, layers))
	if err != nil {
		return 0, 0, false, err
	}
	base, err := model.Load(src)
	if err != nil {
		return 0, 0, false, err
	}
	var o map[string]json.RawMessage
	if err := json.Unmarshal([]byte("{"+settings+"}"), &o); err != nil {
		return 0, 0, false, err
	}
	c := m.New()
	if err := peft.Configure(c, m.Type, o); err != nil {
		return 0, 0, false, err
	}
	c.Shared().FromFile = m.Name == lora.PVeRA.Name || m.Name == lora.FRoD.Name // is used, not trained; would decompose weights
	a, err := c.Attach(base, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		return 0, 0, false, err
	}
	_, merges = a.(peft.Merger)
	params = peft.NumParams(a)
	if x, ok := a.(peft.Converter); ok {
		_, a = x.Convert(c)
	}
	for _, e := range peft.Entries(a) {
		n := int64(e.DType.Size())
		for _, k := range e.Shape {
			n *= int64(k)
		}
		bytes += n
	}
	return params, bytes, merges, nil
}
