package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/serve"
	"github.com/graft-ml/graft/serve/api"
	"github.com/graft-ml/graft/tokenizer"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
)

const (
	key     = "sk-use-0123456789abcdef"
	admin   = "sk-admin-0123456789abcdef"
	chatML  = `{% for m in messages %}{{ m.content }} {% endfor %}`
	opening = "Once upon a time"
)

// server is graft's over a real model with the adapters red and blue.
type server struct {
	*httptest.Server
	client openai.Client
	engine *serve.Engine
	model  *model.Model
	folder string
	check  *checker
}

// start serves the model of the assets. Everything that goes over the wire is held against openapi.json.
func start(t *testing.T) *server {
	if os.Getenv("GRAFT_ASSETS") == "" { // this module lies two folders below the project
		t.Setenv("GRAFT_ASSETS", filepath.Join("..", "..", "..", "shared", "assets"))
	}
	dir := filepath.Join(golden.Assets(t), "models", "stories260K-hf")
	m := modeltest.Open(t, dir).Model
	tok, err := tokenizer.Open(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	chat, err := tok.NewChatTemplate(chatML)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{model: m, folder: t.TempDir()}
	r := serve.NewRegistry(m, serve.RegistryOptions{Table: methods.All})
	for i, name := range []string{"red", "blue"} {
		saveLoRA(t, m, filepath.Join(s.folder, name), uint64(i))
		if _, err := r.Load(context.Background(), name, filepath.Join(s.folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.engine = serve.NewEngine(m, r, serve.EngineOptions{Mode: kernel.ModeF32})
	keys, err := api.ReadKeys(strings.NewReader("use "+key+"\nadmin "+admin), "keys")
	if err != nil {
		t.Fatal(err)
	}
	h, err := api.New(api.Config{Engine: s.engine, Adapters: r, Tokenizer: tok, Chat: chat, Name: "stories", Task: "generate", MaxLen: m.Config.MaxPositionEmbeddings,
		EOS: m.Config.EOSTokenID, Folder: s.folder, Runtime: true, Keys: keys, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.check = newChecker(t, h)
	s.Server = httptest.NewUnstartedServer(s.check)
	s.Config = api.NewServer(h, "")
	s.Config.Handler = s.check
	s.Start()
	t.Cleanup(func() {
		s.Close()
		if err := s.engine.Close(context.Background()); err != nil {
			t.Error(err)
		}
		s.check.report(t)
	})
	s.client = openai.NewClient(option.WithBaseURL(s.URL+"/v1"), option.WithAPIKey(key), option.WithMaxRetries(0))
	return s
}

// saveLoRA writes a LoRA that changes much.
func saveLoRA(t *testing.T, m *model.Model, dir string, seed uint64) {
	view, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	c := lora.New()
	c.Rank, c.Alpha, c.TargetModules = 2, 6, peft.Names{Pattern: peft.AllLinear}
	rng := rand.New(rand.NewPCG(seed, 1))
	a, err := c.Attach(view, rng)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range a.Params() {
		x := op.Data(p)
		for i := range x {
			x[i] += float32(0.2 * rng.NormFloat64())
		}
	}
	if err := peft.Identify(context.Background(), c, m); err != nil {
		t.Fatal(err)
	}
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
}

// checker holds every request that is answered well, and every answer, against openapi.json.
type checker struct {
	h      http.Handler
	doc    *openapi3.T
	router routers.Router
	mu     sync.Mutex
	wrong  []string
	seen   map[string]int
}

func newChecker(t *testing.T, h http.Handler) *checker {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/openapi.json", nil))
	doc, err := openapi3.NewLoader().LoadFromData(rec.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	for _, kind := range []string{"text/event-stream", "text/html", "text/css", "text/javascript"} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.PlainBodyDecoder)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &checker{h: h, doc: doc, router: router, seen: map[string]int{}}
}

// taped is an answer that is also kept.
type taped struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *taped) WriteHeader(status int)      { w.status = status; w.ResponseWriter.WriteHeader(status) }
func (w *taped) Write(b []byte) (int, error) { w.body.Write(b); return w.ResponseWriter.Write(b) }
func (w *taped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (c *checker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	again := func() io.ReadCloser { return io.NopCloser(bytes.NewReader(body)) }
	r.Body = again()
	tape := &taped{ResponseWriter: w, status: http.StatusOK}
	c.h.ServeHTTP(tape, r)
	route, params, err := c.router.FindRoute(r)
	if err != nil {
		c.note(r, "no route in openapi.json: %v", err)
		return
	}
	r.Body = again()
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}}
	if err := openapi3filter.ValidateRequest(context.WithoutCancel(r.Context()), in); err != nil && tape.status < 400 {
		c.note(r, "answered with %d, openapi.json says %v", tape.status, err)
	}
	if r.Context().Err() != nil {
		return // a client that went has half an answer
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: tape.status, Header: w.Header(), Options: in.Options}
	if err := openapi3filter.ValidateResponse(context.WithoutCancel(r.Context()), out.SetBodyBytes(tape.body.Bytes())); err != nil {
		c.note(r, "the answer %d is not as openapi.json says: %v", tape.status, err)
	}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
		c.events(r, tape.body.String())
	}
	c.mu.Lock()
	c.seen[r.Method+" "+route.Path]++
	c.mu.Unlock()
}

// eventSchemas are what the events of streams are.
var eventSchemas = map[string]string{"/v1/completions": "Completion", "/v1/chat/completions": "ChatChunk", "/generate_stream": "GenerateEvent"}

// events holds each event of a stream against its schema.
func (c *checker) events(r *http.Request, body string) {
	schema := c.doc.Components.Schemas[eventSchemas[r.URL.Path]].Value
	for line := range strings.Lines(body) {
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var v any
		err := json.Unmarshal([]byte(data), &v)
		if err == nil {
			err = c.doc.ValidateSchemaJSON(schema, v, openapi3.EnableJSONSchema2020())
		}
		if err != nil {
			c.note(r, "event %s: %v", data, err)
		}
	}
}

func (c *checker) note(r *http.Request, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, r.Method+" "+r.URL.Path+": "+fmt.Sprintf(format, args...))
}

func (c *checker) report(t *testing.T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.wrong {
		t.Error(w)
	}
}

// params of a completion, greedy.
func completion(model string, n int64) openai.CompletionNewParams {
	return openai.CompletionNewParams{Model: openai.CompletionNewParamsModel(model), Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String(opening)},
		MaxTokens: openai.Int(n), Temperature: openai.Float(0)}
}

func chatOf(model string, n int64) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Once upon a"), openai.SystemMessage("time")},
		MaxCompletionTokens: openai.Int(n), Temperature: openai.Float(0)}
}

// TestOpenAIClient has OpenAI's own client talk to the server.
func TestOpenAIClient(t *testing.T) {
	s := start(t)
	ctx := context.Background()
	texts := map[string]string{}
	for _, name := range []string{"stories", "red", "blue"} {
		r, err := s.client.Completions.New(ctx, completion(name, 20))
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = r.Choices[0].Text
		if r.Model != name || r.Usage.CompletionTokens != 20 || r.Choices[0].FinishReason != "length" {
			t.Errorf("%s: answer is %s", name, r.RawJSON())
		}
	}
	if want := ", there was a little girl named Lily. She loved to play outsid"; texts["stories"] != want {
		t.Errorf("the base says %q, want %q", texts["stories"], want)
	}
	if texts["red"] == texts["blue"] || texts["red"] == texts["stories"] {
		t.Errorf("adapters say %q", texts)
	}
	t.Run("models", func(t *testing.T) {
		page, err := s.client.Models.List(ctx)
		if err != nil || len(page.Data) != 3 || page.Data[0].ID != "stories" || page.Data[1].ID != "blue" {
			t.Errorf("models are %+v, %v", page, err)
		}
		m, err := s.client.Models.Get(ctx, "red")
		if err != nil || !strings.Contains(m.RawJSON(), `"parent":"stories"`) {
			t.Errorf("model is %+v, %v, want the parent stories", m, err)
		}
	})
	t.Run("streamed completions make the same text", func(t *testing.T) {
		p := completion("red", 20)
		p.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
		stream := s.client.Completions.NewStreaming(ctx, p)
		text, used := "", int64(0)
		for stream.Next() {
			for _, c := range stream.Current().Choices {
				text += c.Text
			}
			used += stream.Current().Usage.CompletionTokens
		}
		if err := stream.Err(); err != nil || text != texts["red"] || used != 20 {
			t.Errorf("streamed %q with %d tokens, %v, want %q with 20", text, used, err, texts["red"])
		}
	})
	t.Run("chat, whole and streamed", func(t *testing.T) {
		p := chatOf("blue", 12)
		p.Logprobs, p.TopLogprobs = openai.Bool(true), openai.Int(3)
		p.Stop = openai.ChatCompletionNewParamsStopUnion{OfStringArray: []string{"never said"}}
		r, err := s.client.Chat.Completions.New(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		c := r.Choices[0]
		if c.Message.Role != "assistant" || len(c.Logprobs.Content) != 12 || len(c.Logprobs.Content[0].TopLogprobs) != 3 {
			t.Errorf("answer is %s", r.RawJSON())
		}
		stream := s.client.Chat.Completions.NewStreaming(ctx, p)
		var all openai.ChatCompletionAccumulator
		for stream.Next() {
			if !all.AddChunk(stream.Current()) {
				t.Errorf("a part that does not go on: %s", stream.Current().RawJSON())
			}
		}
		if err := stream.Err(); err != nil || all.Choices[0].Message.Content != c.Message.Content {
			t.Errorf("streamed %q, %v, want %q", all.Choices[0].Message.Content, err, c.Message.Content)
		}
	})
	t.Run("n, seed and stop", func(t *testing.T) {
		p := completion("stories", 30)
		p.N, p.Seed, p.Temperature = openai.Int(3), openai.Int(11), openai.Float(1)
		p.Stop = openai.CompletionNewParamsStopUnion{OfString: openai.String(".")}
		first, err := s.client.Completions.New(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.client.Completions.New(ctx, p)
		if err != nil || len(again.Choices) != 3 {
			t.Fatal(err, len(again.Choices))
		}
		for i, c := range first.Choices {
			if c.Text != again.Choices[i].Text || strings.Contains(c.Text, ".") {
				t.Errorf("text %d is %q, then %q", i, c.Text, again.Choices[i].Text)
			}
		}
	})
	t.Run("logit_bias", func(t *testing.T) {
		p := chatOf("stories", 3)
		p.LogitBias = map[string]int64{"400": 100}
		r, err := s.client.Chat.Completions.New(ctx, p)
		if err != nil || r.Choices[0].Message.Content == "" {
			t.Fatal(err)
		}
		q := chatOf("stories", 3)
		plain, err := s.client.Chat.Completions.New(ctx, q)
		if err != nil || plain.Choices[0].Message.Content == r.Choices[0].Message.Content {
			t.Errorf("%q with and without a bias, %v", plain.Choices[0].Message.Content, err)
		}
	})
	t.Run("tools", func(t *testing.T) {
		p := chatOf("stories", 3)
		p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: "f", Parameters: openai.FunctionParameters{"type": "object"}})}
		if _, err := s.client.Chat.Completions.New(ctx, p); err != nil {
			t.Error(err)
		}
	})
	t.Run("embeddings", func(t *testing.T) {
		for _, format := range []openai.EmbeddingNewParamsEncodingFormat{"", "float"} {
			r, err := s.client.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: "red", EncodingFormat: format,
				Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{opening, "The end"}}})
			if err != nil || len(r.Data) != 2 || len(r.Data[1].Embedding) != 64 {
				t.Errorf("embeddings: %v", err)
			}
		}
	})
	t.Run("errors", func(t *testing.T) { failures(t, s, ctx) })
	t.Run("cancellation", func(t *testing.T) { cancellation(t, s) })
}

// failures wants errors with the status and the code that the client knows.
func failures(t *testing.T, s *server, ctx context.Context) {
	bad := func(what string, err error, status int, code string) {
		t.Helper()
		var e *openai.Error
		if !errors.As(err, &e) || e.StatusCode != status || e.Code != code || e.Message == "" {
			t.Errorf("%s: %v, want %d %q", what, err, status, code)
		}
	}
	_, err := s.client.Completions.New(ctx, completion("green", 3))
	bad("an unknown model", err, 404, "model_not_found")
	_, err = s.client.Completions.New(ctx, completion("red", 100000))
	bad("too many tokens", err, 400, "")
	_, err = s.client.Completions.New(ctx, completion("red", 510))
	bad("more than the model's length", err, 400, "context_length_exceeded")
	p := completion("red", 3)
	p.Temperature = param.NewOpt(-1.0)
	_, err = s.client.Completions.New(ctx, p)
	bad("a temperature below 0", err, 400, "")
	_, err = s.client.Completions.New(ctx, completion("red", 3), option.WithAPIKey("sk-none-of-yours-0123"))
	bad("a wrong key", err, 401, "invalid_api_key")
	stream := s.client.Completions.NewStreaming(ctx, completion("green", 3))
	for stream.Next() {
	}
	bad("a stream of an unknown model", stream.Err(), 404, "model_not_found")
}

// cancellation has a client go in the middle of a stream, and the engine's work for it end.
func cancellation(t *testing.T, s *server) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p := completion("red", 400)
	stream := s.client.Completions.NewStreaming(ctx, p, option.WithJSONSet("ignore_eos", true), option.WithJSONSet("n", 16))
	if !stream.Next() {
		t.Fatal(stream.Err())
	}
	cancel()
	for stream.Next() {
	}
	if !errors.Is(stream.Err(), context.Canceled) {
		t.Errorf("the stream ends with %v", stream.Err())
	}
	for end := time.Now().Add(time.Minute); s.engine.Stats().Running+s.engine.Stats().Waiting > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the engine goes on for a client that went")
		}
	}
	if s.engine.Stats().Cancelled == 0 {
		t.Error("the engine counted nothing as cancelled")
	}
}
