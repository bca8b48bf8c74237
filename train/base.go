package train

import (
	"errors"
	"sync"
)

// Base is the hash of a frozen base, found while the run goes on: it is needed when the first checkpoint is written, or before
// the first step where a run is resumed. Safe for concurrent use.
type Base struct {
	find func() (string, error)
	once sync.Once
	done chan struct{}
	hash string
	err  error
}

// FindBase has find called by a goroutine when the hash is wanted, once at most. Its error ends the run; one about the numbers of
// the weights comes before errors that these lead to.
func FindBase(find func() (string, error)) *Base { return &Base{find: find, done: make(chan struct{})} }

// Begin has the hash looked for.
func (b *Base) Begin() {
	b.once.Do(func() {
		go func() {
			defer close(b.done)
			b.hash, b.err = b.find()
		}()
	})
}

// Hash waits for the hash.
func (b *Base) Hash() (string, error) {
	b.Begin()
	<-b.done
	return b.hash, b.err
}

// Settle waits until nobody looks for the hash any more, nor will.
func (b *Base) Settle() {
	b.once.Do(func() {
		b.err = errors.New("train: the hash of the base is not looked for any more")
		close(b.done)
	})
	<-b.done
}

// found says whether the hash is there, or cannot be.
func (b *Base) found() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// know waits for the hash of the base and tells it to the folder.
func (f *Folder) know() error {
	if f.id.Base == nil {
		return nil
	}
	hash, err := f.id.Base.Hash()
	if err != nil {
		return err
	}
	f.id.BaseHash, f.id.Base = hash, nil
	return nil
}

// attend has the hash of the base looked for, and describes the run when it is there.
func (f *Folder) attend(wait bool) error {
	if f == nil || f.id.Base == nil {
		return nil
	}
	f.id.Base.Begin()
	if !wait && !f.id.Base.found() {
		return nil
	}
	if err := f.know(); err != nil {
		f.unsound = f.from == nil
		return err
	}
	return f.describe()
}

// blame is err, or that of the base, which is the cause of others.
func (f *Folder) blame(err error) error {
	if err == nil || f == nil {
		return err
	}
	if e := f.attend(true); e != nil {
		return e
	}
	return err
}
