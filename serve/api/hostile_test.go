package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/graft-ml/graft/serve"
)

// bad is a request that must be refused.
type bad struct {
	name    string
	method  string // "" = POST
	path    string
	body    string
	headers []string // in addition, "Name: value"
	status  int
	says    string // part of the message
}

const (
	completionsPath = "/v1/completions"
	chatPath        = "/v1/chat/completions"
	loadPath        = "/v1/load_lora_adapter"
	unloadPath      = "/v1/unload_lora_adapter"
)

// hostile lists what the server must refuse, with how.
func hostile() []bad {
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	return []bad{
		// Paths and methods.
		{name: "unknown path", method: "GET", path: "/v2/models", status: 404},
		{name: "path with dots", method: "GET", path: "/page/../api.go", status: 404},
		{name: "path with escaped dots", method: "GET", path: "/page/%2e%2e%2fapi.go", status: 404},
		{name: "page file that is a folder's way", method: "GET", path: "/page/%2e%2e", status: 404},
		{name: "doubled slash", method: "GET", path: "//v1/models", status: 404},
		{name: "model with slash", method: "GET", path: "/v1/models/a%2f..%2fb", status: 404},
		{name: "model with zero byte", method: "GET", path: "/v1/models/en%00", status: 404},
		{name: "unknown model", method: "GET", path: "/v1/models/fr", status: 404, says: "The model `fr` does not exist."},
		{name: "GET of what is for POST", method: "GET", path: completionsPath, status: 405},
		{name: "PUT", method: "PUT", path: chatPath, body: `{}`, status: 405},
		{name: "DELETE of a model", method: "DELETE", path: "/v1/models/en", status: 405},
		{name: "TRACE", method: "TRACE", path: "/v1/models", status: 405},
		{name: "a made-up method", method: "FROBNICATE", path: "/metrics", status: 405},

		// Content types.
		{name: "form", path: completionsPath, body: `{"prompt": "a"}`, headers: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 415},
		{name: "text, as pages elsewhere may send it", path: completionsPath, body: `{"prompt": "a"}`, headers: []string{"Content-Type: text/plain"}, status: 415},
		{name: "broken content type", path: completionsPath, body: `{"prompt": "a"}`, headers: []string{"Content-Type: application/json; ="}, status: 415},
		{name: "compressed body", path: completionsPath, body: "\x1f\x8b", headers: []string{"Content-Encoding: gzip"}, status: 415},

		// JSON.
		{name: "no JSON", path: completionsPath, body: `prompt=a`, status: 400, says: "no JSON"},
		{name: "cut JSON", path: completionsPath, body: `{"prompt": "a`, status: 400},
		{name: "two values", path: completionsPath, body: `{"prompt": "a"} {}`, status: 400},
		{name: "a list", path: completionsPath, body: `[1]`, status: 400, says: "want an object"},
		{name: "null", path: completionsPath, body: `null`, status: 400},
		{name: "deep JSON", path: completionsPath, body: deep(100000), status: 400, says: "nested deeper"},
		{name: "deep lists", path: completionsPath, body: `{"prompt": ` + strings.Repeat("[", 100000), status: 400},
		{name: "a field twice", path: completionsPath, body: `{"prompt": "a", "model": "en", "model": "zh"}`, status: 400, says: "twice"},
		{name: "bytes that are not UTF-8", path: completionsPath, body: "{\"prompt\": \"a\xff\"}", status: 400, says: "UTF-8"},
		{name: "half of a surrogate pair", path: completionsPath, body: `{"prompt": "\ud800"}`, status: 400, says: "surrogate"},
		{name: "a raw control character", path: completionsPath, body: "{\"prompt\": \"a\x00\"}", status: 400},
		{name: "NaN", path: completionsPath, body: `{"prompt": "a", "temperature": NaN}`, status: 400},
		{name: "a number beyond all", path: completionsPath, body: `{"prompt": "a", "temperature": 1e999}`, status: 400},
		{name: "a huge body", path: completionsPath, body: `{"prompt": "` + strings.Repeat("a", 2<<20) + `"}`, status: 413, says: "larger than"},

		// Fields.
		{name: "no prompt", path: completionsPath, body: `{}`, status: 400, says: "prompt: missing"},
		{name: "an empty prompt", path: completionsPath, body: `{"prompt": "", "add_special_tokens": false}`, status: 400, says: "empty"},
		{name: "an empty list of prompts", path: completionsPath, body: `{"prompt": []}`, status: 400, says: "empty list"},
		{name: "an empty list of tokens", path: completionsPath, body: `{"prompt": [[]]}`, status: 400, says: "empty"},
		{name: "a prompt that is an object", path: completionsPath, body: `{"prompt": {"a": 1}}`, status: 400},
		{name: "prompts of several kinds", path: completionsPath, body: `{"prompt": ["a", 1]}`, status: 400},
		{name: "too many prompts", path: completionsPath, body: `{"prompt": [` + strings.Repeat(`"a",`, 64) + `"a"]}`, status: 400, says: "at most 64"},
		{name: "too many texts", path: completionsPath, body: `{"prompt": ["a", "b"], "n": 64}`, status: 400, says: "at most 64"},
		{name: "a prompt that is too long", path: completionsPath, body: `{"prompt": "` + strings.Repeat("word ", 2000) + `"}`, status: 400, says: "the model's length is 512"},
		{name: "a token below 0", path: completionsPath, body: `{"prompt": [-1]}`, status: 400, says: "token id"},
		{name: "a token beyond the vocabulary", path: completionsPath, body: `{"prompt": [1, 99999999]}`, status: 400, says: "prompt[0][1]"},
		{name: "a token beyond all integers", path: completionsPath, body: `{"prompt": [1, 99999999999999999999]}`, status: 400},
		{name: "a token that is no integer", path: completionsPath, body: `{"prompt": [1, 1.5]}`, status: 400},
		{name: "a field that nobody knows", path: completionsPath, body: `{"prompt": "a", "temprature": 1}`, status: 400, says: "temprature: no such field"},
		{name: "a model that is a number", path: completionsPath, body: `{"prompt": "a", "model": 3}`, status: 400, says: "want a string"},
		{name: "an unknown model", path: completionsPath, body: `{"prompt": "a", "model": "fr"}`, status: 404, says: "`fr`"},
		{name: "a model that is a path", path: completionsPath, body: `{"prompt": "a", "model": "../../etc/passwd"}`, status: 404},
		{name: "negative max_tokens", path: completionsPath, body: `{"prompt": "a", "max_tokens": -1}`, status: 400, says: "max_tokens: is -1"},
		{name: "huge max_tokens", path: completionsPath, body: `{"prompt": "a", "max_tokens": 1e18}`, status: 400},
		{name: "max_tokens beyond the model", path: completionsPath, body: `{"prompt": "a", "max_tokens": 600}`, status: 400, says: "the model's length"},
		{name: "negative temperature", path: completionsPath, body: `{"prompt": "a", "temperature": -0.1}`, status: 400},
		{name: "temperature as text", path: completionsPath, body: `{"prompt": "a", "temperature": "hot"}`, status: 400},
		{name: "top_p above 1", path: completionsPath, body: `{"prompt": "a", "top_p": 1.1}`, status: 400},
		{name: "n of 0", path: completionsPath, body: `{"prompt": "a", "n": 0}`, status: 400},
		{name: "best_of above n", path: completionsPath, body: `{"prompt": "a", "best_of": 2}`, status: 400},
		{name: "too many stop strings", path: completionsPath, body: `{"prompt": "a", "stop": ["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"]}`, status: 400},
		{name: "an empty stop string", path: completionsPath, body: `{"prompt": "a", "stop": [""]}`, status: 400},
		{name: "a long stop string", path: completionsPath, body: `{"prompt": "a", "stop": "` + strings.Repeat("x", 300) + `"}`, status: 400},
		{name: "logit_bias of no token", path: completionsPath, body: `{"prompt": "a", "logit_bias": {"x": 1}}`, status: 400},
		{name: "logit_bias beyond 100", path: completionsPath, body: `{"prompt": "a", "logit_bias": {"3": 1e30}}`, status: 400},
		{name: "too many logprobs", path: completionsPath, body: `{"prompt": "a", "logprobs": 1000000}`, status: 400},
		{name: "stream as text", path: completionsPath, body: `{"prompt": "a", "stream": "yes"}`, status: 400},
		{name: "an adapter number that is none", path: completionsPath, body: `{"prompt": "a", "lora": [{"id": 99}]}`, status: 400},
		{name: "an infinite scale", path: completionsPath, body: `{"prompt": "a", "lora": [{"id": 0, "scale": 1e300}]}`, status: 400},
		{name: "an adapter twice", path: completionsPath, body: `{"prompt": "a", "lora": [{"id": 0}, {"id": 0}]}`, status: 400},

		// Chat.
		{name: "no messages", path: chatPath, body: `{"messages": []}`, status: 400},
		{name: "a role that nobody has", path: chatPath, body: `{"messages": [{"role": "root", "content": "a"}]}`, status: 400, says: "messages[0].role"},
		{name: "a message without content", path: chatPath, body: `{"messages": [{"role": "user"}]}`, status: 400},
		{name: "a picture", path: chatPath, body: `{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]}`, status: 400},
		{name: "a forced tool", path: chatPath, body: `{"messages": [{"role": "user", "content": "a"}], "tool_choice": "required"}`, status: 400},
		{name: "a tool that is none", path: chatPath, body: `{"messages": [{"role": "user", "content": "a"}], "tools": [1]}`, status: 400},
		{name: "JSON by schema", path: chatPath, body: `{"messages": [{"role": "user", "content": "a"}], "response_format": {"type": "json_schema"}}`, status: 400},
		{name: "a template of the request's own", path: chatPath, body: `{"messages": [{"role": "user", "content": "a"}], "chat_template": "{% for i in range(99999999) %}{% endfor %}"}`, status: 400, says: "chat_template: no such field"},
		{name: "messages as variables of the template", path: chatPath, body: `{"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": 1}`, status: 400},
		{name: "a message nested deeper than templates print", path: chatPath, body: `{"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function", "function": ` + deep(300) + `}]}`, status: 400, says: "nested"},

		// LoRAX.
		{name: "LoRAX without inputs", path: "/generate", body: `{}`, status: 400},
		{name: "an adapter from elsewhere", path: "/generate", body: `{"inputs": "a", "parameters": {"adapter_id": "en", "adapter_source": "s3"}}`, status: 400},
		{name: "an adapter by path", path: "/generate", body: `{"inputs": "a", "parameters": {"adapter_id": "../x"}}`, status: 404},
		{name: "merged by ties", path: "/generate", body: `{"inputs": "a", "parameters": {"merged_adapters": {"ids": ["en"], "merge_strategy": "ties"}}}`, status: 400, says: "graft combine"},
		{name: "merged with too few weights", path: "/generate", body: `{"inputs": "a", "parameters": {"merged_adapters": {"ids": ["en", "zh"], "weights": [1]}}}`, status: 400},
		{name: "merged twice", path: "/generate_stream", body: `{"inputs": "a", "parameters": {"merged_adapters": {"ids": ["en", "en"]}}}`, status: 400},

		// Adapters by request.
		{name: "a name with a slash", path: loadPath, body: `{"lora_name": "a/b", "lora_path": "good"}`, status: 400},
		{name: "a name of dots", path: loadPath, body: `{"lora_name": "..", "lora_path": "good"}`, status: 400},
		{name: "a long name", path: loadPath, body: `{"lora_name": "` + strings.Repeat("a", 65) + `", "lora_path": "good"}`, status: 400},
		{name: "a name that is not ASCII", path: loadPath, body: `{"lora_name": "лора", "lora_path": "good"}`, status: 400},
		{name: "the base's name", path: loadPath, body: `{"lora_name": "base", "lora_path": "good"}`, status: 400},
		{name: "no path", path: loadPath, body: `{"lora_name": "x"}`, status: 400, says: "must be provided"},
		{name: "a path above", path: loadPath, body: `{"lora_name": "x", "lora_path": "../good"}`, status: 403, says: "outside"},
		{name: "a path that goes up and down", path: loadPath, body: `{"lora_name": "x", "lora_path": "good/../../good"}`, status: 403},
		{name: "a path of the system", path: loadPath, body: `{"lora_name": "x", "lora_path": "/etc"}`, status: 403},
		{name: "a path with a zero byte", path: loadPath, body: `{"lora_name": "x", "lora_path": "good\u0000"}`, status: 403},
		{name: "a path with backslashes", path: loadPath, body: `{"lora_name": "x", "lora_path": "..\\good"}`, status: 403},
		{name: "a path that is not there", path: loadPath, body: `{"lora_name": "x", "lora_path": "none"}`, status: 404},
		{name: "a path to a file", path: loadPath, body: `{"lora_name": "x", "lora_path": "good/adapter_config.json"}`, status: 404},
		{name: "a link to a folder outside", path: loadPath, body: `{"lora_name": "x", "lora_path": "escape"}`, status: 403, says: "link"},
		{name: "a link on the way", path: loadPath, body: `{"lora_name": "x", "lora_path": "escape/inner"}`, status: 403, says: "link"},
		{name: "a folder with a linked file", path: loadPath, body: `{"lora_name": "x", "lora_path": "linked"}`, status: 403, says: "link"},
		{name: "an adapter that is too large", path: loadPath, body: `{"lora_name": "x", "lora_path": "large"}`, status: 413},
		{name: "a broken adapter", path: loadPath, body: `{"lora_name": "x", "lora_path": "broken"}`, status: 400, says: "adapter refused"},
		{name: "a name that is taken", path: loadPath, body: `{"lora_name": "en", "lora_path": "good"}`, status: 400, says: "has already been loaded"},
		{name: "unloading what is not there", path: unloadPath, body: `{"lora_name": "fr"}`, status: 404},
		{name: "unloading a path", path: unloadPath, body: `{"lora_name": "../en"}`, status: 404},
		{name: "scales that are no list", path: "/lora-adapters", body: `{"id": 0}`, status: 400, says: "want a list"},
		{name: "scales of what is not there", path: "/lora-adapters", body: `[{"id": 7, "scale": 1}]`, status: 400},

		// The other routes.
		{name: "an embedding of nothing", path: "/v1/embeddings", body: `{"input": []}`, status: 400},
		{name: "a format that is none", path: "/v1/embeddings", body: `{"input": "a", "encoding_format": "hex"}`, status: 400},
		{name: "dimensions", path: "/v1/embeddings", body: `{"input": "a", "dimensions": 3}`, status: 400},
		{name: "tokens of nothing", path: "/tokenize", body: `{}`, status: 400},
		{name: "a text of tokens that are none", path: "/detokenize", body: `{"tokens": [123456789]}`, status: 400},
		{name: "classes of nothing", path: "/classify", body: `{}`, status: 400},
		{name: "pairs that are none", path: "/classify", body: `{"input": ["a", "b"], "text_pair": "c"}`, status: 400},
		{name: "words of a number", path: "/ner", body: `{"input": 5}`, status: 400},

		// Whom and whence.
		{name: "another host", path: completionsPath, body: `{"prompt": "a"}`, headers: []string{"Host: evil.example"}, status: 421},
		{name: "a page of elsewhere", path: completionsPath, body: `{"prompt": "a"}`, headers: []string{"Origin: https://evil.example"}, status: 403},
		{name: "a page without an origin", path: completionsPath, body: `{"prompt": "a"}`, headers: []string{"Origin: null"}, status: 403},
	}
}

// hostileWorld is a server that changes adapters by request, with a folder that has traps.
func hostileWorld(t testing.TB) *world {
	dir := folder(t)
	outside := t.TempDir()
	write(t, filepath.Join(outside, "adapter_config.json"), `{}`)
	write(t, filepath.Join(outside, "inner", "adapter_config.json"), `{}`)
	write(t, filepath.Join(dir, "broken", "adapter_config.json"), `{`)
	write(t, filepath.Join(dir, "large", "adapter_model.safetensors"), strings.Repeat("x", 5000))
	write(t, filepath.Join(dir, "linked", "readme"), "")
	for to, from := range map[string]string{outside: "escape", filepath.Join(outside, "adapter_config.json"): "linked/adapter_config.json"} {
		if err := os.Symlink(to, filepath.Join(dir, filepath.FromSlash(from))); err != nil {
			t.Skipf("no links here: %v", err)
		}
	}
	return newWorld(t, func(c *Config) {
		c.Folder, c.Runtime = dir, true
		c.Hosts = []string{"localhost", "127.0.0.1", "::1"}
		c.Limits.Body, c.Limits.AdapterBytes = 1<<20, 4000
	})
}

// TestHostileInput has each refused with its status, in OpenAI's form, with nothing computed and nothing changed; the server is as well as before.
func TestHostileInput(t *testing.T) {
	w := hostileWorld(t)
	list := hostile()
	if len(list) < 60 {
		t.Fatalf("%d cases, want at least 60", len(list))
	}
	for _, c := range list {
		t.Run(c.name, func(t *testing.T) {
			status, header, body := w.on(t).raw(c)
			if status != c.status {
				t.Fatalf("status %d, want %d\n%s", status, c.status, body)
			}
			if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Content-Type") != "application/json" {
				t.Errorf("headers are %v", header)
			}
			message, ok := at(t, body, "error", "message").(string)
			if !ok || message == "" || !strings.Contains(message, c.says) {
				t.Errorf("message is %q, want it to say %q", message, c.says)
			}
			if _, ok := at(t, body, "error", "type").(string); !ok || len(body) > 4000 {
				t.Errorf("not OpenAI's form, or %d bytes: %.200s", len(body), body)
			}
		})
	}
	if n := len(w.engine.got); n != 0 {
		t.Errorf("%d of the requests came to the engine", n)
	}
	if n := len(w.shelf.List()); n != 2 {
		t.Errorf("%d adapters, want the two from before", n)
	}
	w.post(200, completionsPath, `{"prompt": "a"}`)
}

// raw sends a request as it stands: clients would tidy it.
func (w *world) raw(b bad) (status int, header http.Header, body string) {
	w.t.Helper()
	if b.method == "" {
		b.method = "POST"
	}
	head := []string{b.method + " " + b.path + " HTTP/1.1"}
	has := func(name string) bool {
		for _, h := range b.headers {
			if strings.HasPrefix(strings.ToLower(h), name+":") {
				return true
			}
		}
		return false
	}
	if !has("host") {
		head = append(head, "Host: localhost")
	}
	if !has("content-type") && b.body != "" {
		head = append(head, "Content-Type: application/json")
	}
	head = append(append(head, b.headers...), fmt.Sprintf("Content-Length: %d", len(b.body)), "Connection: close")
	return w.sendRaw(strings.Join(head, "\r\n") + "\r\n\r\n" + b.body)
}

// sendRaw writes bytes to the server and reads an answer. What the server does not want to read is not an error.
func (w *world) sendRaw(request string) (status int, header http.Header, body string) {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(conn, request) // a refused body is not read to its end
	}()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Fatalf("no answer: %v", err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body) // the connection may be reset behind the answer
	conn.Close()
	<-sent
	return res.StatusCode, res.Header, string(b)
}

// TestSmuggledHeaders sends what another server in front could read otherwise.
func TestSmuggledHeaders(t *testing.T) {
	w := newWorld(t, nil)
	const body = `{"prompt": "a"}`
	head := "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	for _, c := range []struct{ name, request string }{
		{"two lengths", head + "Content-Length: 15\r\nContent-Length: 3\r\n\r\n" + body},
		{"a negative length", head + "Content-Length: -1\r\n\r\n" + body},
		{"a length with a sign", head + "Content-Length: +15\r\n\r\n" + body},
		{"chunks that are none", head + "Transfer-Encoding: chunked\r\n\r\nZZ\r\n" + body},
		{"an encoding that is none", head + "Transfer-Encoding: xchunked\r\nContent-Length: 15\r\n\r\n" + body},
		{"an encoding twice", head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"},
		{"a space before the colon", head + "Content-Length : 15\r\n\r\n" + body},
		{"a name with a line end", head + "X\rY: 1\r\nContent-Length: 15\r\n\r\n" + body},
		{"a value with a zero byte", head + "X: a\x00b\r\nContent-Length: 15\r\n\r\n" + body},
		{"no host", "GET /v1/models HTTP/1.1\r\n\r\n"},
		{"two hosts", "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n"},
		{"a version that is none", "GET /v1/models HTTP/9.9\r\nHost: localhost\r\n\r\n"},
		{"headers beyond the limit", "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, _, _ := w.on(t).sendRaw(c.request)
			if status < 400 || status >= 600 || status == 500 {
				t.Errorf("status %d, want it refused", status)
			}
		})
	}
	if len(w.engine.got) != 0 {
		t.Errorf("%d of the requests came to the engine", len(w.engine.got))
	}
}

// TestSlowClients has clients that send or read slowly lose their request, and nobody else's.
func TestSlowClients(t *testing.T) {
	slow := newWorld(t, func(c *Config) { c.Limits.Header, c.Limits.Read = 50*time.Millisecond, 50*time.Millisecond })
	w := newWorld(t, func(c *Config) { c.Limits.Write = 50 * time.Millisecond })
	dial := func(w *world, s string) *bufio.Reader {
		conn, err := net.Dial("tcp", w.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, s); err != nil {
			t.Fatal(err)
		}
		return bufio.NewReader(conn)
	}
	t.Run("headers that never end", func(t *testing.T) {
		if b, err := io.ReadAll(dial(slow, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Slow:")); err != nil || len(b) > 0 && !strings.Contains(string(b), " 408 ") {
			t.Errorf("the connection gives %q, %v, want it closed", b, err)
		}
	})
	t.Run("a body that never ends", func(t *testing.T) {
		res, err := http.ReadResponse(dial(slow, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"prompt\""), nil)
		if err != nil || res.StatusCode != http.StatusRequestTimeout {
			t.Errorf("answer is %v, %v, want 408", res, err)
		}
	})
	t.Run("an answer that nobody reads", func(t *testing.T) {
		w.engine.says = func(g serve.Generation) string { return strings.Repeat("word ", 400) }
		body, _ := json.Marshal(map[string]any{"prompt": "a", "stream": true, "max_tokens": 500, "n": 64, "logprobs": 20})
		for range 4 {
			dial(w, fmt.Sprintf("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		}
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			w.engine.mu.Lock()
			begun := len(w.engine.got)
			w.engine.mu.Unlock()
			if begun == 4*64 && w.engine.running() == 0 && len(w.api.slots) == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%d generations begun, %d run, %d requests hold a slot, want all done", begun, w.engine.running(), len(w.api.slots))
			}
		}
		w.engine.says = nil
		w.on(t).post(200, completionsPath, `{"prompt": "a"}`)
	})
}
