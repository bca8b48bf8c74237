package report

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The size of drawings in their own units. Text of 12 units stays readable when a phone shows 440 units on 360 pixels.
const (
	drawingWidth  = 440
	drawingHeight = 250
	marginLeft    = 46
	marginRight   = 12
	marginTop     = 30
	marginBottom  = 38
)

// mostPoints bounds the points of a curve: no screen shows more.
const mostPoints = 800

// series is a curve; its class picks the colour.
type series struct {
	name, class string
	x, y        []float64
	dots        bool
}

// chart is a drawing of curves over one axis.
type chart struct {
	x, y   string
	series []series
}

// svg draws the chart, or "" without points.
func (c chart) svg(title string) string {
	x, y := newAxis(), newAxis()
	for _, s := range c.series {
		x.include(s.x)
		y.include(s.y)
	}
	x.place(marginLeft, drawingWidth-marginRight, false)
	y.place(drawingHeight-marginBottom, marginTop, true)
	d := newDrawing(title)
	d.grid(x, y, c.x, c.y)
	var names, classes []string
	for _, s := range c.series {
		if len(s.x) > 0 {
			d.curve(x, y, s)
			names, classes = append(names, s.name), append(classes, s.class)
		}
	}
	d.legend(names, classes)
	return d.end()
}

// bars is a drawing of groups of two bars.
type bars struct {
	names  []string
	values [][2]float64
}

func (b *bars) add(name string, one, two float64) {
	b.names, b.values = append(b.names, name), append(b.values, [2]float64{one, two})
}

// svg draws the bars; names are those of the two kinds.
func (b *bars) svg(title string, names []string) string {
	y := newAxis()
	y.include([]float64{0})
	for _, v := range b.values {
		y.include(v[:])
	}
	y.place(drawingHeight-marginBottom, marginTop, true)
	d := newDrawing(title)
	d.grid(nil, y, "tokens", "loss per target")
	classes := []string{"two", "one"}
	slot := float64(drawingWidth-marginLeft-marginRight) / float64(len(b.values))
	width := min(slot*0.36, 42)
	for i, v := range b.values {
		mid := marginLeft + slot*(float64(i)+0.5)
		for k, value := range v {
			top, bottom := y.at(value), y.at(0)
			fmt.Fprintf(&d.b, `<rect class="bar %s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s, %s: %s</title></rect>`,
				classes[k], mid+float64(k-1)*width, top, width-1, bottom-top, html.EscapeString(b.names[i]), names[k], decimals(value))
		}
		d.text(mid, drawingHeight-marginBottom+15, "middle", b.names[i])
	}
	d.legend(names, classes)
	return d.end()
}

// axis maps values to places.
type axis struct {
	low, high float64
	from, to  float64
	step      float64 // between ticks
}

func newAxis() *axis { return &axis{low: math.Inf(1), high: math.Inf(-1)} }

func (a *axis) include(values []float64) {
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			a.low, a.high = min(a.low, v), max(a.high, v)
		}
	}
}

// place sets where the axis is drawn, if whole, widened to whole ticks. An axis of nothing, or of one value, gets some
// length.
func (a *axis) place(from, to float64, whole bool) {
	if !(a.low <= a.high) {
		a.low, a.high = 0, 1
	}
	if a.low == a.high {
		a.low, a.high = a.low-0.5, a.high+0.5
	}
	a.from, a.to, a.step = from, to, stepOf(a.high-a.low)
	if whole {
		a.low, a.high = math.Floor(a.low/a.step)*a.step, math.Ceil(a.high/a.step)*a.step
	}
}

func (a *axis) at(v float64) float64 { return a.from + (v-a.low)/(a.high-a.low)*(a.to-a.from) }

// stepOf is 1, 2 or 5 times a power of ten, so that there are about five in a length.
func stepOf(length float64) float64 {
	raw := length / 5
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5} {
		if raw <= m*power*1.0000001 { // 1.0000001: rounding must not skip a step
			return m * power
		}
	}
	return 10 * power
}

// ticks are the marked values with their labels.
func (a *axis) ticks() (values []float64, labels []string) {
	digits := max(0, int(math.Ceil(-math.Log10(a.step)-1e-9)))
	const slack = 1e-9 // of a step: rounding must not lose a tick at an end
	for i := math.Ceil(a.low/a.step - slack); i <= a.high/a.step+slack; i++ {
		values = append(values, i*a.step)
		labels = append(labels, fmt.Sprintf("%.*f", digits, i*a.step+0)) // +0: −0 has a sign, 0 has none
	}
	return values, labels
}

// drawing writes SVG.
type drawing struct{ b strings.Builder }

func newDrawing(title string) *drawing {
	d := &drawing{}
	fmt.Fprintf(&d.b, `<svg viewBox="0 0 %d %d" role="img" xmlns="http://www.w3.org/2000/svg"><title>%s</title>`, drawingWidth, drawingHeight, html.EscapeString(title))
	return d
}

func (d *drawing) end() string { return d.b.String() + "</svg>" }

func (d *drawing) text(x, y float64, anchor, s string) {
	fmt.Fprintf(&d.b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, y, anchor, html.EscapeString(s))
}

// grid draws the axes; x may be nil.
func (d *drawing) grid(x, y *axis, xName, yName string) {
	values, labels := y.ticks()
	for i, v := range values {
		fmt.Fprintf(&d.b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, marginLeft, drawingWidth-marginRight, y.at(v), y.at(v))
		d.text(marginLeft-6, y.at(v)+4, "end", labels[i])
	}
	if x != nil {
		values, labels := x.ticks()
		for i, v := range values {
			d.text(x.at(v), drawingHeight-marginBottom+15, "middle", labels[i])
		}
	}
	d.text((marginLeft+drawingWidth-marginRight)/2, drawingHeight-6, "middle", xName)
	d.text(4, 14, "start", yName)
}

// curve draws every n-th point of a long series, and the last.
func (d *drawing) curve(x, y *axis, s series) {
	every := max(1, (len(s.x)+mostPoints-1)/mostPoints)
	fmt.Fprintf(&d.b, `<polyline class="line %s" points="`, s.class)
	for i := range s.x {
		if i%every == 0 || i == len(s.x)-1 {
			fmt.Fprintf(&d.b, "%.1f,%.1f ", x.at(s.x[i]), y.at(s.y[i]))
		}
	}
	d.b.WriteString(`"/>`)
	for i := 0; s.dots && i < len(s.x); i += every {
		fmt.Fprintf(&d.b, `<circle class="dot %s" cx="%.1f" cy="%.1f" r="3.5"><title>%g: %s</title></circle>`,
			s.class, x.at(s.x[i]), y.at(s.y[i]), s.x[i], decimals(s.y[i]))
	}
}

// legend names the colours, from right to left at the top.
func (d *drawing) legend(names, classes []string) {
	at := float64(drawingWidth - marginRight)
	for i := len(names) - 1; i >= 0; i-- {
		d.text(at, 14, "end", names[i])
		at -= 7.2*float64(len(names[i])) + 16 // 7.2: the width of a wide font's letter of 12 units, about
		fmt.Fprintf(&d.b, `<rect class="key %s" x="%.1f" y="5" width="10" height="10" rx="2"/>`, classes[i], at)
		at -= 10
	}
}
