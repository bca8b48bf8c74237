package data

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Shape says what the columns of a data set mean.
type Shape struct {
	Name    string
	Task    string // that its rows are for, one of task.Tasks; "" = tasks about language itself
	Doc     string
	Columns []Column

	separate bool // the parts are tokenized one by one unless Settings.Boundary says otherwise
	concat   bool // texts may be put end to end
	split    bool // overlong rows are cut into windows unless Settings.Overlong says otherwise
	pairs    bool // recognised only by the separator in its text
	draft    func(*drafter, *Row) (draft, error)
	encode   func(*Encoder, *Row) (Encoded, error) // instead of draft
}

// Column is a role that a column of the data plays.
type Column struct {
	Name     string   // what Settings.Columns calls it
	Names    []string // what it is called in data sets, the first present wins
	Required bool
	Target   bool // what a model is to say: it may be missing where rows are only read by one
}

// Shapes are all shapes, in the order in which they are recognised.
var Shapes = []Shape{
	{
		Name: "tools", Doc: "a chat with the tools that the assistant may call",
		Columns: []Column{
			{Name: "messages", Names: []string{"messages", "conversations", "conversation"}, Required: true},
			{Name: "tools", Names: []string{"tools", "functions"}, Required: true},
			{Name: "system", Names: []string{"system"}},
		},
		draft: (*drafter).chat,
	},
	{
		Name: "chat", Doc: "messages [{role, content}], or sharegpt's conversations [{from, value}]; the assistant's are trained",
		Columns: []Column{
			{Name: "messages", Names: []string{"messages", "conversations", "conversation"}, Required: true},
			{Name: "tools", Names: []string{"tools", "functions"}},
			{Name: "system", Names: []string{"system"}},
		},
		draft: (*drafter).chat,
	},
	{
		Name: "instruction", Doc: "instruction, optional input, output; alpaca's columns",
		Columns: []Column{
			{Name: "instruction", Names: []string{"instruction"}, Required: true},
			{Name: "input", Names: []string{"input", "context"}},
			{Name: "output", Names: []string{"output", "response"}, Required: true, Target: true},
			{Name: "system", Names: []string{"system"}},
			{Name: "history", Names: []string{"history"}},
		},
		draft: (*drafter).instruction,
	},
	{
		Name: "prompt_completion", Doc: "prompt and completion",
		Columns: []Column{
			{Name: "prompt", Names: []string{"prompt", "question", "query", "input"}, Required: true},
			{Name: "completion", Names: []string{"completion", "response", "answer", "output", "target"}, Required: true, Target: true},
		},
		draft: (*drafter).completion,
	},
	{
		Name: "context_target", Doc: `one text "context||target"; tokenized apart, the target without the spaces around it`,
		Columns:  []Column{{Name: "text", Names: []string{"text"}, Required: true}},
		separate: true, pairs: true,
		draft: (*drafter).contextTarget,
	},
	{
		Name: "text", Doc: "text; every token is trained",
		Columns: []Column{{Name: "text", Names: []string{"text", "content"}, Required: true}},
		split:   true, concat: true,
		draft: (*drafter).text,
	},
	classification,
	tokens,
	qa,
	seq2seq,
	maskedText,
}

// ShapeNames are the names of Shapes.
func ShapeNames() []string {
	names := make([]string, len(Shapes))
	for i := range Shapes {
		names[i] = Shapes[i].Name
	}
	return names
}

// shapeTask is the task if it has shapes of its own, else "".
func shapeTask(task string) string {
	if len(shapesFor(task)) == 0 {
		return ""
	}
	return task
}

// ShapesFor are the names of the shapes that are for a task alone.
func ShapesFor(task string) []string {
	if task == "" {
		return nil
	}
	return shapesFor(task)
}

// shapesFor are the names of the shapes for a task; of "" those about language itself.
func shapesFor(task string) []string {
	var names []string
	for i := range Shapes {
		if Shapes[i].Task == task {
			names = append(names, Shapes[i].Name)
		}
	}
	return names
}

// pairSeparator parts context and target.
const pairSeparator = "||"

// drafter turns rows of one shape into drafts. Safe for concurrent use.
type drafter struct {
	shape    *Shape
	columns  map[string]string // role → column, as the user said
	settings *Settings
	dialogue bool     // there is a chat template
	template Template // of the shape instruction
}

// draft is a row on its way to tokens: parts of text, or a conversation.
type draft struct {
	parts   []Part
	chat    *Conversation
	dropped string // why the row cannot be used, if so
}

// Part is a piece of text and how much its tokens count as targets.
type Part struct {
	Text   string
	Weight float32 // 0 = masked
}

// newDrafter finds the shape that settings ask for, or the one that fits the first row.
func newDrafter(s *Settings, first *Row, dialogue bool) (*drafter, error) {
	d := &drafter{columns: s.Columns, settings: s, dialogue: dialogue}
	if s.Shape == "" || s.Shape == "auto" {
		for i := range Shapes {
			if d.shape = &Shapes[i]; d.shape.Task == shapeTask(s.Task) && d.fits(first) {
				return d, d.prepare()
			}
		}
		if len(d.columns) > 0 {
			return nil, first.Errorf("no shape fits the columns that the settings name (%s); the row has %s", d.named(), first.Fields.names())
		}
		return nil, first.Errorf("columns %s fit none of the shapes %s; name the shape and its columns", first.Fields.names(), strings.Join(shapesFor(shapeTask(s.Task)), ", "))
	}
	i := slices.IndexFunc(Shapes, func(x Shape) bool { return x.Name == s.Shape })
	if i < 0 {
		return nil, fmt.Errorf("data: shape is %q, want one of auto, %s", s.Shape, strings.Join(ShapeNames(), ", "))
	}
	d.shape = &Shapes[i]
	return d, d.prepare()
}

// named lists the columns that the user named.
func (d *drafter) named() string {
	var list []string
	for _, role := range sortedKeys(d.columns) {
		list = append(list, fmt.Sprintf("%s = %q", role, d.columns[role]))
	}
	return strings.Join(list, ", ")
}

// fits says whether the row has all columns that the shape cannot do without, and the shape all that the user named.
func (d *drafter) fits(row *Row) bool {
	for role := range d.columns {
		if !slices.ContainsFunc(d.shape.Columns, func(c Column) bool { return c.Name == role }) {
			return false
		}
	}
	for i := range d.shape.Columns {
		if _, _, ok := d.find(row, &d.shape.Columns[i]); d.needs(&d.shape.Columns[i]) && !ok {
			return false
		}
	}
	if d.shape.pairs {
		_, v, _ := d.find(row, &d.shape.Columns[0])
		text, ok := v.(string)
		return ok && len(row.Fields) == 1 && strings.Contains(text, pairSeparator)
	}
	return true
}

// needs says that a row must have the column.
func (d *drafter) needs(c *Column) bool { return c.Required && !(c.Target && d.settings.Predict) }

// prepare checks what settings say about the shape.
func (d *drafter) prepare() error {
	var roles []string
	for i := range d.shape.Columns {
		roles = append(roles, d.shape.Columns[i].Name)
	}
	for _, role := range sortedKeys(d.columns) {
		if !slices.Contains(roles, role) {
			return fmt.Errorf("data: columns.%s: shape %q has no such column, want one of %s", role, d.shape.Name, strings.Join(roles, ", "))
		}
	}
	name := d.settings.Template
	if name == "" {
		name = "alpaca"
		if d.dialogue {
			name = "chat"
		}
	}
	if name == "chat" {
		if !d.dialogue && d.shape.Name == "instruction" {
			return fmt.Errorf("data: template is \"chat\", but the model has no chat template")
		}
		d.template = Template{Name: "chat"}
		return nil
	}
	i := slices.IndexFunc(Templates, func(t Template) bool { return t.Name == name })
	if i < 0 {
		return fmt.Errorf("data: template is %q, want one of %s", name, strings.Join(TemplateNames(), ", "))
	}
	d.template = Templates[i]
	return nil
}

// find looks a column up in a row.
func (d *drafter) find(row *Row, c *Column) (name string, v any, ok bool) {
	if name, ok := d.columns[c.Name]; ok {
		v, ok := row.Fields.Get(name)
		return name, v, ok
	}
	for _, name := range c.Names {
		if v, ok := row.Fields.Get(name); ok {
			return name, v, true
		}
	}
	return c.Names[0], nil, false
}

// value is the value of a column; nil if it is absent and optional.
func (d *drafter) value(row *Row, role string) (name string, v any, err error) {
	i := slices.IndexFunc(d.shape.Columns, func(c Column) bool { return c.Name == role })
	c := &d.shape.Columns[i]
	name, v, ok := d.find(row, c)
	if ok || !d.needs(c) {
		return name, v, nil
	}
	for _, f := range row.Fields {
		if f.Name == name {
			return name, nil, row.Errorf("field %q is null", name)
		}
	}
	return name, nil, row.Errorf("no field %q (%s); it has %s", name, c.Name, row.Fields.names())
}

// text of a column; "" if it is absent and optional.
func (d *drafter) textOf(row *Row, role string) (string, error) {
	name, v, err := d.value(row, role)
	if err != nil || v == nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", row.Errorf("field %q is %s, want a string", name, kind(v))
	}
	return s, nil
}

// texts are the columns' texts, in order.
func (d *drafter) texts(row *Row, roles ...string) ([]string, error) {
	out := make([]string, len(roles))
	for i, role := range roles {
		var err error
		if out[i], err = d.textOf(row, role); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// masked is the weight of what is not trained unless the user wants the prompt trained, too.
func (d *drafter) masked() float32 {
	if d.settings.TrainOnPrompt {
		return 1
	}
	return 0
}

func (d *drafter) text(row *Row) (draft, error) {
	s, err := d.textOf(row, "text")
	if err != nil || strings.TrimSpace(s) == "" {
		return draft{dropped: "empty text"}, err
	}
	return draft{parts: []Part{{s, 1}}}, nil
}

func (d *drafter) completion(row *Row) (draft, error) {
	s, err := d.texts(row, "prompt", "completion")
	if err != nil {
		return draft{}, err
	}
	if s[1] == "" {
		return draft{dropped: "empty completion"}, nil
	}
	prompt := s[0] + d.settings.Separator
	if d.settings.System != "" {
		prompt = d.settings.System + "\n\n" + prompt
	}
	return draft{parts: []Part{{prompt, d.masked()}, {s[1], 1}}}, nil
}

func (d *drafter) contextTarget(row *Row) (draft, error) {
	s, err := d.textOf(row, "text")
	if err != nil {
		return draft{}, err
	}
	context, target, ok := strings.Cut(s, pairSeparator)
	if !ok {
		return draft{}, row.Errorf("no %q in %s", pairSeparator, excerpt(s))
	}
	if target = strings.TrimSpace(target); target == "" {
		return draft{dropped: "empty target"}, nil
	}
	return draft{parts: []Part{{context + pairSeparator, d.masked()}, {target, 1}}}, nil
}

// excerpt quotes the beginning of s.
func excerpt(s string) string {
	const most = 40
	runes := []rune(s)
	if len(runes) <= most {
		return strconv.Quote(s)
	}
	return strconv.Quote(string(runes[:most])) + "…"
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
