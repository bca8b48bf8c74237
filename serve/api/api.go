// Package api answers over HTTP for an engine of package serve, in the forms that clients of OpenAI, vLLM, LoRAX and llama-server
// already speak.
//
//	h, err := api.New(api.Config{Engine: engine, Adapters: registry, Tokenizer: tok, Name: "llama", Folder: "adapters"})
//	srv := api.NewServer(h, "127.0.0.1:8080")
//	err = srv.ListenAndServe()
//
// Routes are a table (routes), each with the scope that its callers need; the same table is held against openapi.json by a test.
// Nothing here computes: a request becomes a serve.Generation or serve.Reading, and what comes back becomes JSON.
//
// Words: a key is what a caller shows, a scope what the key opens (use: ask the model; admin: change what is served, read the
// metrics). The base is the model without adapters. A choice is one of the texts that a request asks for.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graft-ml/graft/serve"
	"github.com/graft-ml/graft/tokenizer"
)

// Engine computes answers; *serve.Engine is one. Safe for concurrent use.
type Engine interface {
	Generate(ctx context.Context, g serve.Generation, emit func(serve.Token) bool) (serve.Result, error)
	Classify(ctx context.Context, r serve.Reading) ([]serve.Label, error)
	Tag(ctx context.Context, r serve.Reading) ([][]serve.Label, error)
	Embed(ctx context.Context, r serve.Reading) ([]float32, error)
	Stats() serve.EngineStats
}

// Adapters is what can be chosen; *serve.Registry is one. Safe for concurrent use.
type Adapters interface {
	Load(ctx context.Context, name, dir string) (serve.Info, error)
	Unload(name string) error
	Pin(name string, pinned bool) error
	List() []serve.Info
	Info(name string) (serve.Info, error)
	Stats() serve.RegistryStats
}

// Config says what is served and to whom.
type Config struct {
	Engine    Engine
	Adapters  Adapters
	Tokenizer *tokenizer.Tokenizer
	Chat      *tokenizer.ChatTemplate // nil: the model has none, and chat is refused
	Name      string                  // of the base, as clients write it
	Task      string                  // what the base is for: generate, classify, ner or embed; the page adapts to it
	MaxLen    int                     // tokens of prompt and answer together
	EOS       []int32                 // tokens that end an answer
	Pool      serve.Pool              // of embeddings
	Folder    string                  // of the adapters; "" = none can be loaded
	Loading   bool                    // adapters are still loaded; Loaded says when they are
	Runtime   bool                    // adapters may be loaded and unloaded by requests
	Keys      Keys                    // none: everybody may use what is not admin's, and admin's if Runtime
	Hosts     []string                // names that requests may be addressed to; none = any
	Limits    Limits
	Log       *slog.Logger
	Version   string
	Now       func() time.Time
}

// Server is the handler. Safe for concurrent use.
type Server struct {
	Config
	metrics  *metrics
	slots    chan struct{} // one for each request that is worked on
	draining atomic.Bool
	loading  atomic.Bool
	started  time.Time
	ids      adapterIDs
	admin    sync.Mutex // held while the set of adapters is changed
}

// New makes a server.
func New(c Config) (*Server, error) {
	if c.Engine == nil || c.Adapters == nil || c.Tokenizer == nil || c.Name == "" {
		return nil, errors.New("api: engine, adapters, tokenizer or name is missing")
	}
	if c.Limits == (Limits{}) {
		c.Limits = DefaultLimits()
	}
	if err := c.Limits.Validate(); err != nil {
		return nil, err
	}
	if c.MaxLen < 1 {
		return nil, fmt.Errorf("api: max length is %d tokens, want at least 1", c.MaxLen)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{Config: c, slots: make(chan struct{}, c.Limits.Requests), started: c.Now()}
	s.loading.Store(c.Loading)
	s.metrics = newMetrics(gauges{c.Engine, c.Adapters})
	return s, nil
}

// Drain has readyz say no and new requests be refused, while those in flight go on.
func (s *Server) Drain() { s.draining.Store(true) }

// Loaded has readyz say yes, where Config.Loading has it say no.
func (s *Server) Loaded() { s.loading.Store(false) }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.guard(w, r) }

// NewServer puts a handler behind a server that slow or silent clients cannot hold. Bodies and answers have deadlines of their own
// (Limits), so that long answers are not cut.
func NewServer(h *Server, addr string) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           h,
		ReadHeaderTimeout: h.Limits.Header,
		IdleTimeout:       h.Limits.Idle,
		MaxHeaderBytes:    h.Limits.HeaderBytes,
		ErrorLog:          slog.NewLogLogger(h.Log.Handler(), slog.LevelDebug), // what clients do to connections is no error of ours
	}
}
