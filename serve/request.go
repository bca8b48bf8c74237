package serve

import (
	"errors"
	"time"

	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/peft"
)

// What a request may run into. Errors of this package wrap one of them where a caller would act on it.
var (
	ErrNoAdapter = errors.New("no such adapter")     // the name is not in the registry
	ErrAdapter   = errors.New("adapter refused")     // damaged, for another base, or changes nothing
	ErrRequest   = errors.New("request refused")     // a prompt too long, an option out of its range, a task that the model has no head for
	ErrBusy      = errors.New("too many requests")   // the queue, or the room for adapters or keys and values, is full
	ErrClosed    = errors.New("no longer serving")   // Close was called
	ErrName      = errors.New("not an adapter name") // outside ^[A-Za-z0-9._-]{1,64}$
)

// Generation asks for one text.
type Generation struct {
	Adapters  []peft.Use // by name in the registry when the request comes; none = the model alone
	Prompt    []int32
	Options   generate.Options // one way through: NumBeams 0 or 1
	LogitBias map[int32]float32
	Logprobs  int  // of each token the Logprobs most probable as well as its own; negative = neither
	Echo      bool // Result.Prompt is wanted
}

// Token is one token of an answer.
type Token struct {
	ID      int32
	Logprob float32 // natural logarithm, before temperature
	Top     []Candidate
}

// Candidate is a token that could have come.
type Candidate struct {
	ID      int32
	Logprob float32
}

// Finish says why an answer ended.
type Finish string

const (
	FinishStop   Finish = "stop"   // an end token, or the caller had enough
	FinishLength Finish = "length" // max_new_tokens
)

// Result is a whole answer.
type Result struct {
	Tokens   []Token
	Prompt   []Token // with Echo; the first has no Logprob
	Finish   Finish
	Cached   int           // tokens of the prompt that were already known
	Versions []string      // of the adapters, in the order of the request
	Queued   time.Duration // until the first row was computed
}

// Reading asks for what a model tells about a text: a label, labels of tokens, or a vector.
type Reading struct {
	Adapters []peft.Use
	Tokens   []int32
	Types    []int32 // token_type_ids; nil = all 0
	Pool     Pool    // of Embed; "" = PoolMean
}

// Pool says which hidden states an embedding is made of.
type Pool string

// Pools.
const (
	PoolMean  Pool = "mean"  // of all tokens
	PoolFirst Pool = "first" // as BERT's [CLS]
	PoolLast  Pool = "last"  // which has seen all others in a decoder
)

// Label is a class with its probability.
type Label struct {
	Name  string
	Score float32
}

// Info is what a registry tells about an adapter.
type Info struct {
	Name     string    `json:"name"`
	Version  string    `json:"version"` // SHA-256 of its files, hexadecimal
	Method   string    `json:"method"`  // peft_type
	Task     string    `json:"task,omitempty"`
	Dir      string    `json:"-"`
	Bytes    int64     `json:"bytes"`
	Resident bool      `json:"resident"` // in memory, or on disk only
	Pinned   bool      `json:"pinned"`
	Used     int       `json:"used"` // requests that hold this version now
	Loaded   time.Time `json:"loaded"`
}
