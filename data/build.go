package data

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Report is what became of a source.
type Report struct {
	Shape     string // in use
	Detected  string // one line: the shape and which columns play which role
	Rows      int    // read
	Used      int    // rows that gave an example
	Examples  int
	Truncated int       // examples
	Dropped   []Dropped // by reason, the commonest first
	Notes     []string  // what the user may not expect
	Labels    []string  // names in the order of their numbers; nil for shapes without
	Problem   string    // of classification: one of SingleLabel …
}

// Dropped counts the rows that were not used for one reason.
type Dropped struct {
	Reason string
	Rows   int
	First  Place
}

// maxRowErrors are shown at once.
const maxRowErrors = 10

// chunkRows is how many rows a worker takes at a time.
const chunkRows = 64

// Build encodes all rows of a source, in their order, on several goroutines. Bad rows are an error that lists the first
// ten of them, one a line. chat may be nil if no row needs a chat template.
func Build(ctx context.Context, rows iter.Seq2[Row, error], tok Tokenizer, chat Chat, s Settings) (Set, *Report, error) {
	if err := s.Validate(); err != nil {
		return nil, nil, err
	}
	b := &builder{settings: s, tok: tok, chat: chat, report: &Report{}, dropped: map[string]*Dropped{}, labels: newLabeler(s.Labels)}
	if err := b.run(ctx, rows); err != nil {
		return nil, nil, err
	}
	if err := b.finish(); err != nil {
		return nil, b.report, err
	}
	return b.set, b.report, nil
}

// builder collects what Build makes. Its fields belong to the goroutine that reads the rows, but for those of collect.
type builder struct {
	settings Settings
	tok      Tokenizer
	chat     Chat
	encoder  *Encoder
	columns  map[string]bool // names of all columns seen

	// Of collect.
	set     Set
	report  *Report
	dropped map[string]*Dropped
	order   []string // reasons as they came
	errs    []error
	tokens  int64
	labels  *labeler
}

// chunk is some rows and what became of them.
type chunk struct {
	rows    []Row
	bad     []error // of the reader, by row; the row is then empty
	encoder *Encoder
	done    chan struct{}
	got     []Encoded
	errs    []error
}

// run feeds the rows to workers and collects what they make in the order of the rows.
func (b *builder) run(ctx context.Context, rows iter.Seq2[Row, error]) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := b.settings.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	work := make(chan *chunk)
	queue := make(chan *chunk, 2*workers) // the same chunks in order; bounds what lies in memory
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for c := range work {
				c.encode()
				close(c.done)
			}
		})
	}
	collected := make(chan error, 1)
	go func() {
		defer cancel() // enough errors: the reader need not go on
		collected <- b.collect(queue)
	}()
	err := b.read(ctx, rows, func(c *chunk) bool {
		c.done = make(chan struct{})
		select {
		case queue <- c:
		case <-ctx.Done():
			return false
		}
		work <- c
		return true
	})
	close(work)
	close(queue)
	group.Wait()
	if cerr := <-collected; cerr != nil {
		return cerr
	}
	return err
}

// read cuts the rows into chunks.
func (b *builder) read(ctx context.Context, rows iter.Seq2[Row, error], give func(*chunk) bool) error {
	c := &chunk{}
	flush := func() bool {
		if len(c.rows) == 0 {
			return true
		}
		full := c
		full.encoder = b.encoder
		c = &chunk{}
		return give(full)
	}
	b.columns = map[string]bool{}
	for row, err := range rows {
		if ctx.Err() != nil {
			break
		}
		if b.encoder == nil && err == nil && len(row.Fields) > 0 {
			if b.encoder, err = NewEncoder(b.tok, b.chat, b.settings, &row); err != nil {
				return err
			}
			b.report.Shape, b.report.Detected = b.encoder.shape.Name, b.encoder.describe(&row)
		}
		for i := range row.Fields {
			b.columns[row.Fields[i].Name] = true
		}
		c.rows, c.bad = append(c.rows, row), append(c.bad, err)
		if len(c.rows) == chunkRows && !flush() {
			break
		}
	}
	flush()
	return ctx.Err()
}

// encode is a worker's part.
func (c *chunk) encode() {
	c.got, c.errs = make([]Encoded, len(c.rows)), make([]error, len(c.rows))
	for i := range c.rows {
		switch {
		case c.bad[i] != nil:
			c.errs[i] = c.bad[i]
		case c.encoder == nil || len(c.rows[i].Fields) == 0: // no row had a column so far
			c.got[i] = Encoded{Dropped: "empty row"}
		default:
			c.got[i], c.errs[i] = c.encoder.Encode(&c.rows[i])
		}
	}
	for i := range c.rows {
		c.rows[i].Fields = nil // only the places are needed from here on
	}
}

// collect takes the chunks in order.
func (b *builder) collect(queue <-chan *chunk) error {
	for c := range queue {
		<-c.done
		for i := range c.rows {
			b.add(&c.rows[i], c.got[i], c.errs[i])
		}
		if len(b.errs) > maxRowErrors {
			return errors.Join(append(b.errs[:maxRowErrors:maxRowErrors], errors.New("data: more rows are bad, these are the first"))...)
		}
		if b.settings.Progress != nil {
			b.settings.Progress(Progress{Rows: b.report.Rows, Tokens: b.tokens})
		}
	}
	return errors.Join(b.errs...)
}

func (b *builder) add(row *Row, got Encoded, err error) {
	b.report.Rows++
	if err != nil {
		b.errs = append(b.errs, err)
		return
	}
	if got.Dropped != "" {
		d := b.dropped[got.Dropped]
		if d == nil {
			d = &Dropped{Reason: got.Dropped, First: row.Place}
			b.dropped[got.Dropped] = d
			b.order = append(b.order, got.Dropped)
		}
		d.Rows++
		return
	}
	b.report.Used++
	if got.Truncated {
		b.report.Truncated++
	}
	for i := range got.Examples {
		x := got.Examples[i]
		x.Ordinal = b.report.Rows - 1
		if got.names != nil {
			if err := b.labels.number(&x, got.names); err != nil {
				b.errs = append(b.errs, err)
				return
			}
		}
		b.tokens += int64(x.Rows())
		b.set = append(b.set, x)
	}
}

// finish completes the report, and refuses what gives nothing to train on.
func (b *builder) finish() error {
	r := b.report
	for _, reason := range b.order {
		r.Dropped = append(r.Dropped, *b.dropped[reason])
	}
	slices.SortStableFunc(r.Dropped, func(x, y Dropped) int { return cmp.Compare(y.Rows, x.Rows) })
	if b.settings.Concatenate {
		b.set = b.set.blocks(b.settings.SequenceLen)
	}
	r.Examples = len(b.set)
	if b.encoder != nil {
		r.Notes, r.Problem = b.encoder.notes, b.encoder.problem
		b.labels.multi = r.Problem == MultiLabel
		if r.Shape == tokens.Name || r.Shape == classification.Name && r.Problem != Regression {
			r.Labels = b.labels.finish(b.set, r.Shape == tokens.Name)
		}
	}
	if err := b.unseen(); err != nil {
		return err
	}
	switch {
	case r.Rows == 0:
		return errors.New("data: no rows, want at least one")
	case len(b.set) == 0:
		return fmt.Errorf("data: none of %d rows can be used: %s", r.Rows, r.drops())
	}
	return nil
}

// unseen reports columns that the user named and no row has.
func (b *builder) unseen() error {
	if b.encoder == nil {
		return nil
	}
	var errs []error
	have := make([]string, 0, len(b.columns))
	for name := range b.columns {
		have = append(have, strconv.Quote(name))
	}
	slices.Sort(have)
	for _, role := range sortedKeys(b.settings.Columns) {
		if name := b.settings.Columns[role]; !b.columns[name] {
			errs = append(errs, fmt.Errorf("data: columns.%s is %q, which no row has; they have %s", role, name, strings.Join(have, ", ")))
		}
	}
	return errors.Join(errs...)
}

// drops lists the reasons with their counts.
func (r *Report) drops() string {
	var s []string
	for _, d := range r.Dropped {
		s = append(s, fmt.Sprintf("%s (%d, first %s)", d.Reason, d.Rows, d.First))
	}
	return strings.Join(s, ", ")
}

// describe says what was made of the first row's columns.
func (e *Encoder) describe(row *Row) string {
	var used, names []string
	for i := range e.shape.Columns {
		c := &e.shape.Columns[i]
		name, _, ok := e.find(row, c)
		switch {
		case !ok:
			continue
		case name == c.Name:
			used = append(used, name)
		default:
			used = append(used, c.Name+" = "+strconv.Quote(name))
		}
		names = append(names, name)
	}
	s := fmt.Sprintf("shape %s (%s)", e.shape.Name, strings.Join(used, ", "))
	if e.shape.Name == "instruction" {
		s += ", template " + e.template.Name
	}
	var ignored []string
	for _, f := range row.Fields {
		if !slices.Contains(names, f.Name) {
			ignored = append(ignored, f.Name)
		}
	}
	if len(ignored) > 0 {
		s += "; not used: " + strings.Join(ignored, ", ")
	}
	return s
}

// blocks puts all examples end to end and cuts them into examples of n tokens; the last one may be shorter. A block takes
// its place from its first token.
func (s Set) blocks(n int) Set {
	var out Set
	var cur Example
	flush := func() {
		cur.Loss = joinSpans(cur.Loss)
		if cur.Targets() > 0 {
			out = append(out, cur)
		}
		cur = Example{}
	}
	for i := range s {
		for from := 0; from < len(s[i].IDs); {
			if len(cur.IDs) == 0 {
				cur.Place, cur.Ordinal = s[i].Place, s[i].Ordinal
				cur.IDs = make([]int32, 0, n)
			}
			to := min(from+n-len(cur.IDs), len(s[i].IDs))
			piece := s[i].slice(nil, from, to)
			shift := int32(len(cur.IDs))
			cur.IDs, cur.Words = append(cur.IDs, piece.IDs...), append(cur.Words, piece.Words...)
			for _, l := range piece.Loss {
				cur.Loss = append(cur.Loss, Span{l.Start + shift, l.End + shift, l.Weight})
			}
			if from = to; len(cur.IDs) == n {
				flush()
			}
		}
	}
	if len(cur.IDs) > 0 {
		flush()
	}
	return out
}
