package data

// Steps gives the steps of a run: a Stream, or what stands around one.
type Steps interface {
	Next() (Step, error)
	Position() Position // of what Next gives next
	Seek(Position) error
}

// Ahead is another source of steps, of which the next one is laid out while its user works on the last one. What it gives, and every
// position, are those of the source itself. Not safe for concurrent use. Close ends its goroutine.
type Ahead struct {
	of Steps
	at Position
	// Of the goroutine that lays out; nil while there is none.
	ready chan prepared
	stop  chan struct{}
}

// prepared is a step with the position behind it.
type prepared struct {
	step Step
	at   Position
	err  error
}

// NewAhead goes on where the source is, which from now on is its own. It does nothing before the first Next.
func NewAhead(of Steps) *Ahead { return &Ahead{of: of, at: of.Position()} }

// Next gives the next step, and has the one behind it laid out.
func (a *Ahead) Next() (Step, error) {
	if a.ready == nil {
		a.ready, a.stop = make(chan prepared), make(chan struct{})
		go layOut(a.of, a.ready, a.stop)
	}
	p, ok := <-a.ready
	if !ok { // it ended with an error, which the source repeats or not
		a.ready = nil
		return a.Next()
	}
	if p.err == nil {
		a.at = p.at
	}
	return p.step, p.err
}

// layOut is one step ahead of whoever reads ready: the channel holds none, the goroutine one.
func layOut(of Steps, ready chan<- prepared, stop <-chan struct{}) {
	defer close(ready)
	for {
		var p prepared
		p.step, p.err = of.Next()
		p.at = of.Position()
		select {
		case ready <- p:
		case <-stop:
			return
		}
		if p.err != nil {
			return
		}
	}
}

// Position is that of what Next gives next.
func (a *Ahead) Position() Position { return a.at }

// Seek makes Next go on from p.
func (a *Ahead) Seek(p Position) error {
	if err := a.Close(); err != nil {
		return err
	}
	err := a.of.Seek(p)
	a.at = a.of.Position() // as before, if the source does not know p
	return err
}

// Close ends the goroutine, when it has done the step that it is at. The source is where its user is then, and Next begins anew.
func (a *Ahead) Close() error {
	if a.ready == nil {
		return nil
	}
	close(a.stop)
	for range a.ready { // until it has ended; a step that it still gives is dropped
	}
	a.ready, a.stop = nil, nil
	return a.of.Seek(a.at)
}
