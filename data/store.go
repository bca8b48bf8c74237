package data

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
)

// EncodingVersion changes whenever the same rows with the same settings and tokenizer become other examples.
const EncodingVersion = 1

// Marshal writes a set and what is known about its source, for Unmarshal. Numbers are varints; whoever stores them adds a checksum.
//
//	u report, JSON
//	u number of files, their names
//	u number of examples, the examples
//
// u is an unsigned varint, i a zigzag one; lists and texts have their length (u) before them.
func Marshal(s Set, r *Report) ([]byte, error) {
	report, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("data: report: %w", err)
	}
	w := &writer{files: map[string]int{}}
	w.text(string(report))
	var names []string
	for i := range s {
		if _, ok := w.files[s[i].File]; !ok {
			w.files[s[i].File] = len(names)
			names = append(names, s[i].File)
		}
	}
	w.texts(names)
	w.count(len(s))
	for i := range s {
		w.example(&s[i])
	}
	return w.b, nil
}

// Unmarshal reads what Marshal wrote.
func Unmarshal(b []byte) (Set, *Report, error) {
	d := &reader{b: b}
	report := &Report{}
	if err := json.Unmarshal([]byte(d.text()), report); err != nil {
		return nil, nil, fmt.Errorf("data: report: %w", err)
	}
	d.files = d.texts()
	n := d.count()
	s := make(Set, 0, min(n, len(d.b)/leastExample))
	for range n {
		s = append(s, d.example())
		if d.bad {
			break
		}
	}
	if d.bad || len(d.b) > 0 {
		return nil, nil, fmt.Errorf("data: %d stored examples: cut short, damaged or too long", n)
	}
	return s, report, nil
}

// leastExample is how many bytes an example takes at least.
const leastExample = 8

// Fields of an example that only some have, as bits.
const (
	hasSource = 1 << iota
	hasTypes
	hasTags
	hasWords
	hasLabels
	hasAnswer
	hasOrigin
	isUnused
)

// Fields of an origin that may be nil.
const (
	hasOriginWords = 1 << iota
	hasOriginTags
	hasGolds
	hasWord
	hasOffsets
)

// flagsOf are bits for the conditions that hold, the first one lowest.
func flagsOf(conditions ...bool) (n uint64) {
	for i, c := range conditions {
		if c {
			n |= 1 << i
		}
	}
	return n
}

type writer struct {
	b     []byte
	files map[string]int
}

func (w *writer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) int(v int64)   { w.b = binary.AppendVarint(w.b, v) }
func (w *writer) count(n int)   { w.uint(uint64(n)) }

func (w *writer) text(s string) {
	w.count(len(s))
	w.b = append(w.b, s...)
}

func (w *writer) texts(list []string) {
	w.count(len(list))
	for _, s := range list {
		w.text(s)
	}
}

func (w *writer) ints(list []int32) {
	w.count(len(list))
	for _, v := range list {
		w.int(int64(v))
	}
}

func (w *writer) example(e *Example) {
	flags := flagsOf(e.Source != nil, e.Types != nil, e.Tags != nil, e.Words != nil, e.Labels != nil, e.Answer != nil, e.Origin != nil, e.Unused)
	w.uint(flags)
	for _, n := range []int{w.files[e.File], e.Line, e.Row, e.Part, e.Ordinal} {
		w.count(n)
	}
	w.ints(e.IDs)
	w.count(len(e.Loss))
	for _, l := range e.Loss {
		w.int(int64(l.Start))
		w.int(int64(l.End))
		w.uint(uint64(math.Float32bits(l.Weight)))
	}
	for i, list := range [][]int32{e.Source, e.Types, e.Tags, e.Words} {
		if flags&(hasSource<<i) != 0 {
			w.ints(list)
		}
	}
	if e.Labels != nil {
		w.count(len(e.Labels))
		for _, v := range e.Labels {
			w.uint(uint64(math.Float32bits(v)))
		}
	}
	if e.Answer != nil {
		w.ints(e.Answer[:])
	}
	if e.Origin != nil {
		w.origin(e.Origin)
	}
}

func (w *writer) origin(o *Origin) {
	flags := flagsOf(o.Words != nil, o.Tags != nil, o.Golds != nil, o.Word != nil, o.Offsets != nil)
	w.uint(flags)
	w.text(o.ID)
	w.text(o.Text)
	for i, list := range [][]string{o.Words, o.Tags, o.Golds} {
		if flags&(hasOriginWords<<i) != 0 {
			w.texts(list)
		}
	}
	if o.Word != nil {
		w.ints(o.Word)
	}
	if o.Offsets != nil {
		w.count(len(o.Offsets))
		for _, p := range o.Offsets {
			w.int(int64(p[0]))
			w.int(int64(p[1]))
		}
	}
}

// reader reads what writer wrote. After the first thing that cannot be, bad is set and everything is zero.
type reader struct {
	b     []byte
	bad   bool
	files []string
	room  []int32 // lists are cut from it, so that there are few allocations
}

// fail gives up.
func (d *reader) fail() { d.b, d.bad = nil, true }

func (d *reader) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads the number of things that follow, each of a byte at least.
func (d *reader) count() int {
	v := d.uint()
	if v > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(v)
}

// number reads an int that is not negative.
func (d *reader) number() int {
	v := d.uint()
	if v > math.MaxInt32 {
		d.fail()
		return 0
	}
	return int(v)
}

func (d *reader) int32() int32 {
	v, n := binary.Varint(d.b)
	if n <= 0 || v != int64(int32(v)) {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return int32(v)
}

func (d *reader) float() float32 {
	v := d.uint()
	if v > math.MaxUint32 {
		d.fail()
		return 0
	}
	return math.Float32frombits(uint32(v))
}

func (d *reader) text() string {
	n := d.count()
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *reader) texts() []string {
	list := make([]string, 0, d.count())
	for range cap(list) {
		list = append(list, d.text())
	}
	return list
}

func (d *reader) ints() []int32 {
	const most = 1 << 16 // numbers of a room
	n := d.count()
	if n > len(d.room) {
		d.room = make([]int32, max(n, most))
	}
	list := d.room[:n:n]
	d.room = d.room[n:]
	for i := range list {
		list[i] = d.int32()
	}
	return list
}

func (d *reader) example() (e Example) {
	flags := d.uint()
	file := d.number()
	if file >= len(d.files) {
		d.fail()
		return e
	}
	e.File, e.Unused = d.files[file], flags&isUnused != 0
	for _, to := range []*int{&e.Line, &e.Row, &e.Part, &e.Ordinal} {
		*to = d.number()
	}
	e.IDs = d.ints()
	e.Loss = d.spans(len(e.IDs))
	for i, to := range []*[]int32{&e.Source, &e.Types, &e.Tags, &e.Words} {
		if flags&(hasSource<<i) != 0 {
			*to = d.ints()
			if to != &e.Source && len(*to) != len(e.IDs) {
				d.fail()
			}
		}
	}
	if flags&hasLabels != 0 {
		e.Labels = make([]float32, d.count())
		for i := range e.Labels {
			e.Labels[i] = d.float()
		}
	}
	if flags&hasAnswer != 0 {
		a := d.ints()
		if len(a) != 2 {
			d.fail()
			return e
		}
		e.Answer = &[2]int32{a[0], a[1]}
	}
	if flags&hasOrigin != 0 {
		e.Origin = d.origin()
	}
	return e
}

// spans are those of an example of n tokens.
func (d *reader) spans(n int) (list []Span) {
	for range d.count() {
		s := Span{d.int32(), d.int32(), d.float()}
		if s.Start < 0 || s.End < s.Start || int(s.End) > n {
			d.fail()
			return nil
		}
		list = append(list, s)
	}
	return list
}

func (d *reader) origin() *Origin {
	flags := d.uint()
	o := &Origin{ID: d.text(), Text: d.text()}
	for i, to := range []*[]string{&o.Words, &o.Tags, &o.Golds} {
		if flags&(hasOriginWords<<i) != 0 {
			*to = d.texts()
		}
	}
	if flags&hasWord != 0 {
		o.Word = d.ints()
	}
	if flags&hasOffsets != 0 {
		o.Offsets = make([][2]int32, d.count())
		for i := range o.Offsets {
			o.Offsets[i] = [2]int32{d.int32(), d.int32()}
		}
	}
	return o
}
