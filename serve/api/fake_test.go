package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/serve"
	"github.com/graft-ml/graft/tokenizer"
)

// echoEngine answers every prompt with the names of its adapters and the prompt itself, token by token: what belongs to another request
// would show. Safe for concurrent use.
type echoEngine struct {
	tok  *tokenizer.Tokenizer
	says func(g serve.Generation) string // instead; nil = the echo
	gate chan struct{}                   // if not nil, each token waits for one
	fail error
	good int // tokens that come before fail

	mu   sync.Mutex
	got  []serve.Generation
	live int
}

func (e *echoEngine) Generate(ctx context.Context, g serve.Generation, emit func(serve.Token) bool) (serve.Result, error) {
	e.mu.Lock()
	e.got = append(e.got, g)
	e.live++
	e.mu.Unlock()
	defer func() { e.mu.Lock(); e.live--; e.mu.Unlock() }()
	r := serve.Result{Finish: serve.FinishLength}
	if e.fail != nil && e.good == 0 {
		return r, e.fail
	}
	text := e.reply(g)
	ids := e.tok.Encode(text, false).IDs
	if len(g.Options.EOS) > 0 {
		ids = append(ids, g.Options.EOS[0])
	}
	for _, id := range ids {
		if len(r.Tokens) == g.Options.MaxNewTokens {
			return r, nil
		}
		if e.gate != nil {
			select {
			case <-e.gate:
			case <-ctx.Done():
				return r, ctx.Err()
			}
		}
		if err := ctx.Err(); err != nil {
			return r, err
		}
		if e.fail != nil && len(r.Tokens) == e.good {
			return r, e.fail
		}
		t := serve.Token{ID: id, Logprob: -0.5}
		for k := range max(g.Logprobs, 0) {
			t.Top = append(t.Top, serve.Candidate{ID: id + int32(k), Logprob: -0.5 - float32(k)})
		}
		r.Tokens = append(r.Tokens, t)
		if !emit(t) || slices.Contains(g.Options.EOS, id) {
			r.Finish = serve.FinishStop
			return r, nil
		}
	}
	r.Finish = serve.FinishStop
	return r, nil
}

func (e *echoEngine) reply(g serve.Generation) string {
	if e.says != nil {
		return e.says(g)
	}
	return names(g) + e.tok.Decode(g.Prompt, true)
}

// names writes adapters as [a], or [a:0.5 b:2].
func names(g serve.Generation) string {
	var list []string
	for _, u := range g.Adapters {
		s := u.Name
		if u.Scale != 1 {
			s += fmt.Sprintf(":%g", u.Scale)
		}
		list = append(list, s)
	}
	return "[" + strings.Join(list, " ") + "]"
}

func (e *echoEngine) Classify(_ context.Context, r serve.Reading) ([]serve.Label, error) {
	return []serve.Label{{Name: "long", Score: 0.75}, {Name: "short", Score: 0.25}}, e.fail
}

// Tag calls every word a person that begins with a capital.
func (e *echoEngine) Tag(_ context.Context, r serve.Reading) ([][]serve.Label, error) {
	out := make([][]serve.Label, len(r.Tokens))
	for i, id := range r.Tokens {
		out[i] = []serve.Label{{Name: "O", Score: 0.5}}
		if s := strings.TrimSpace(e.tok.Piece(id)); s != "" && s[0] >= 'A' && s[0] <= 'Z' {
			out[i] = []serve.Label{{Name: "B-PER", Score: 0.9}}
		}
	}
	return out, e.fail
}

func (e *echoEngine) Embed(_ context.Context, r serve.Reading) ([]float32, error) {
	return []float32{float32(len(r.Tokens)), 0.5, -1}, e.fail
}

func (e *echoEngine) Stats() serve.EngineStats { return serve.EngineStats{Running: e.running()} }

// running is how many generations are at work.
func (e *echoEngine) running() int { e.mu.Lock(); defer e.mu.Unlock(); return e.live }

// last is the newest generation that was asked for.
func (e *echoEngine) last() serve.Generation {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.got[len(e.got)-1]
}

// shelf is a registry of names.
type shelf struct {
	mu   sync.Mutex
	list map[string]serve.Info
}

func newShelf(names ...string) *shelf {
	s := &shelf{list: map[string]serve.Info{}}
	for _, n := range names {
		s.list[n] = serve.Info{Name: n, Version: strings.Repeat("0", 64), Method: "LORA", Dir: "/adapters/" + n, Loaded: time.Unix(1e9, 0)}
	}
	return s
}

func (s *shelf) Load(_ context.Context, name, dir string) (serve.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := os.ReadFile(filepath.Join(dir, "adapter_config.json"))
	if err != nil || !json.Valid(b) {
		return serve.Info{}, fmt.Errorf("%w: %s: no adapter_config.json", serve.ErrAdapter, dir)
	}
	i := serve.Info{Name: name, Dir: dir, Loaded: time.Unix(1e9, 0)}
	s.list[name] = i
	return i, nil
}

func (s *shelf) Unload(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.list[name]; !ok {
		return serve.ErrNoAdapter
	}
	delete(s.list, name)
	return nil
}

func (s *shelf) Pin(name string, pinned bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.list[name]
	if !ok {
		return serve.ErrNoAdapter
	}
	i.Pinned = pinned
	s.list[name] = i
	return nil
}

func (s *shelf) List() (list []serve.Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.list {
		list = append(list, i)
	}
	return list
}

func (s *shelf) Stats() serve.RegistryStats {
	return serve.RegistryStats{Adapters: len(s.List()), Hits: 3}
}

func (s *shelf) Info(name string) (serve.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.list[name]
	if !ok {
		return i, fmt.Errorf("serve: %q: %w", name, serve.ErrNoAdapter)
	}
	return i, nil
}

// chatML is a chat template that prints tools.
const chatML = `{% if tools %}<|tools|>{{ tools | tojson }}
{% endif %}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}
{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}`

var loadTokenizer = sync.OnceValues(func() (*tokenizer.Tokenizer, error) { return tokenizer.Open(recipes.Quickstart()) })

// world is a server with its fakes.
type world struct {
	*httptest.Server
	t       *testing.T
	engine  *echoEngine
	shelf   *shelf
	api     *Server
	log     *lockedBuffer
	client  *http.Client
	headers map[string]string
}

// lockedBuffer collects a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// newWorld starts a server with the adapters en and zh; change may alter its config.
func newWorld(t testing.TB, change func(*Config)) *world {
	tok, err := loadTokenizer()
	if err != nil {
		t.Fatal(err)
	}
	chat, err := tok.NewChatTemplate(chatML)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{engine: &echoEngine{tok: tok}, shelf: newShelf("en", "zh"), log: &lockedBuffer{}, headers: map[string]string{}}
	w.t, _ = t.(*testing.T)
	eos, _ := tok.EOS()
	c := Config{Engine: w.engine, Adapters: w.shelf, Tokenizer: tok, Chat: chat, Name: "base", Task: "generate", MaxLen: 512, EOS: []int32{eos},
		Log: slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Version: "test", Limits: DefaultLimits()}
	if change != nil {
		change(&c)
	}
	if w.api, err = New(c); err != nil {
		t.Fatal(err)
	}
	w.Server = httptest.NewUnstartedServer(w.api)
	w.Config = NewServer(w.api, "")
	w.Start()
	w.client = w.Client()
	t.Cleanup(w.Close)
	return w
}

// on is the world for a subtest.
func (w *world) on(t *testing.T) *world {
	in := *w
	in.t = t
	return &in
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request.
func (w *world) do(method, path, body string) reply {
	w.t.Helper()
	req, err := http.NewRequest(method, w.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range w.headers {
		req.Header.Set(k, v)
	}
	res, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(b)}
}

// post sends a body and wants a status.
func (w *world) post(status int, path, body string) reply {
	w.t.Helper()
	r := w.do("POST", path, body)
	if r.status != status {
		w.t.Fatalf("POST %s %s = %d, want %d\n%s", path, body, r.status, status, r.body)
	}
	return r
}

func (w *world) get(status int, path string) reply {
	w.t.Helper()
	r := w.do("GET", path, "")
	if r.status != status {
		w.t.Fatalf("GET %s = %d, want %d\n%s", path, r.status, status, r.body)
	}
	return r
}

// at reads a value of a JSON text by its way: "choices", 0, "text".
func at(t *testing.T, body string, way ...any) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	for _, step := range way {
		switch k := step.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok {
				t.Fatalf("no %v of %v in %s", step, way, body)
			}
			v = m[k]
		case int:
			l, ok := v.([]any)
			if !ok || k >= len(l) {
				t.Fatalf("no %v of %v in %s", step, way, body)
			}
			v = l[k]
		}
	}
	return v
}

// data lists the payloads of a stream.
func (r reply) data() (list []string) {
	for line := range strings.Lines(r.body) {
		if s, ok := strings.CutPrefix(line, "data:"); ok {
			list = append(list, strings.TrimSpace(s))
		}
	}
	return list
}

// folder makes an adapters' folder that has one good adapter, named good.
func folder(t testing.TB) string {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "good", "adapter_config.json"), `{"peft_type": "LORA"}`)
	return dir
}

func write(t testing.TB, path, content string) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

var errOutside = errors.New("a secret of the inside")
