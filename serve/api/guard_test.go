package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graft-ml/graft/serve"
)

const (
	useKey   = "sk-use-0123456789abcdef"
	adminKey = "sk-admin-0123456789abcdef"
)

func testKeys(t testing.TB) Keys {
	keys, err := ReadKeys(strings.NewReader("# keys\nuse "+useKey+" app one\n\nadmin "+adminKey+"\n"), "keys")
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestKeys asks every route of the table with every key.
func TestKeys(t *testing.T) {
	dir := folder(t)
	w := newWorld(t, func(c *Config) { c.Keys, c.Runtime, c.Folder = testKeys(t), true, dir })
	for _, r := range table {
		path := strings.NewReplacer("{model}", "en", "{file}", "app.js").Replace(r.path)
		for _, k := range []struct {
			name, header string
			scope        Scope
			refused      int
		}{
			{"no key", "", Open, 401}, {"a wrong key", "Bearer sk-wrong-0123456789", Open, 401}, {"another scheme", "Basic " + useKey, Open, 401},
			{"a beginning of a key", "Bearer " + useKey[:20], Open, 401}, {"use", "Bearer " + useKey, Use, 403}, {"admin", "bearer " + adminKey, Admin, 0},
		} {
			w.headers = map[string]string{}
			if k.header != "" {
				w.headers["Authorization"] = k.header
			}
			body := ""
			if r.method == "POST" {
				body = `{"none": 1}` // refused by the routes that it reaches
			}
			got := w.do(r.method, path, body).status
			if allowed := k.scope >= r.scope; allowed != (got != 401 && got != 403) || !allowed && got != k.refused {
				t.Errorf("%s %s with %s = %d", r.method, r.path, k.name, got)
			}
		}
	}
	for _, secret := range []string{useKey, adminKey, "sk-wrong"} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log tells the key %s", secret)
		}
	}
	if !strings.Contains(w.log.String(), `"key":"app one"`) {
		t.Error("the log does not say whose key it was")
	}
}

// TestBadKeys has files of keys refused with their line, and without the key.
func TestBadKeys(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"root " + useKey, "keys:1: want"},
		{"use", "keys:1: want"},
		{"\nuse short", "keys:2: the key has 5 characters"},
		{"use " + useKey + "\nadmin " + useKey, "keys:2: the key of line 1 again"},
	} {
		_, err := ReadKeys(strings.NewReader(c.file), "keys")
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), useKey) {
			t.Errorf("ReadKeys(%q) = %v, want %q", c.file, err, c.want)
		}
	}
}

// TestRuntimeAdapters are refused where they are not allowed, whoever asks.
func TestRuntimeAdapters(t *testing.T) {
	dir := folder(t)
	w := newWorld(t, func(c *Config) { c.Folder, c.Keys = dir, testKeys(t) })
	w.headers["Authorization"] = "Bearer " + adminKey
	for _, path := range []string{loadPath, unloadPath, "/lora-adapters"} {
		if r := w.post(403, path, `{"lora_name": "x", "lora_path": "good"}`); at(t, r.body, "error", "code") != "runtime_adapters_disabled" {
			t.Errorf("%s: %s", path, r.body)
		}
	}
}

// TestNothingLeaks has many callers ask at once through two adapters and two keys; each gets its own words and nobody else's, and the log none.
func TestNothingLeaks(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Keys = testKeys(t) })
	var work sync.WaitGroup
	for i := range 64 {
		work.Go(func() {
			adapter, key := []string{"en", "zh"}[i%2], []string{useKey, adminKey}[i/2%2]
			secret := fmt.Sprintf("secret%dx", i)
			body := fmt.Sprintf(`{"model": %q, "prompt": "my %s", "stream": %t, "max_tokens": 100}`, adapter, secret, i%3 == 0)
			req, err := http.NewRequest("POST", w.URL+completionsPath, strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+key)
			res, err := w.client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != 200 {
				t.Errorf("%d, %v: %s", res.StatusCode, err, b)
				return
			}
			text := spoken(string(b))
			if want := fmt.Sprintf("[%s]my %s", adapter, secret); text != want {
				t.Errorf("answer is %q, want %q", text, want)
			}
		})
	}
	work.Wait()
	w.headers["Authorization"] = "Bearer " + adminKey
	r := w.post(400, completionsPath, `{"prompt": "mysecret", "temperature": -1}`)
	metrics := w.get(200, "/metrics").body
	for name, text := range map[string]string{"log": w.log.String(), "error": r.body, "metrics": metrics} {
		if strings.Contains(text, "secret") {
			t.Errorf("the %s holds words of prompts", name)
		}
	}
	for _, want := range []string{`graft_requests_total{adapter="en",route="/v1/completions",status="200"} 32`, `graft_adapter_cache_hits_total 3`,
		`graft_tokens_total{adapter="zh",kind="prompt"}`, `graft_first_token_seconds_count{adapter="zh"} 32`, `graft_request_seconds_bucket{adapter="en",le="+Inf"} 32`,
		`graft_queue_requests 0`, `graft_adapter_bytes{adapter="en",resident="no"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// spoken is the text of an answer, whole or streamed.
func spoken(body string) (text string) {
	var part struct{ Choices []struct{ Text string } }
	for line := range strings.Lines(body) {
		if json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &part) == nil && len(part.Choices) > 0 {
			text += part.Choices[0].Text
		}
	}
	return text
}

// TestErrorsOfTheEngine have a status, and no words that are for the inside.
func TestErrorsOfTheEngine(t *testing.T) {
	w := newWorld(t, nil)
	for _, c := range []struct {
		err    error
		status int
		says   string
	}{
		{fmt.Errorf("serve: %w: 9 tokens", serve.ErrRequest), 400, "9 tokens"},
		{fmt.Errorf("serve: %w", serve.ErrNoAdapter), 404, "no such adapter"},
		{fmt.Errorf("serve: %w: /a/secret/place", serve.ErrAdapter), 500, "cannot be read"},
		{fmt.Errorf("serve: %w", serve.ErrBusy), 429, "later"},
		{serve.ErrClosed, 503, "shutting down"},
		{context.DeadlineExceeded, 504, "too long"},
		{errOutside, 500, "log"},
	} {
		w.engine.fail = c.err
		for _, stream := range []string{"false", "true"} {
			r := w.post(c.status, completionsPath, `{"prompt": "a", "stream": `+stream+`}`)
			if message := at(t, r.body, "error", "message").(string); !strings.Contains(message, c.says) || strings.Contains(message, "secret") {
				t.Errorf("%v: message is %q, want it to say %q", c.err, message, c.says)
			}
			if (c.status == 429 || c.status == 503) != (r.header.Get("Retry-After") != "") {
				t.Errorf("%d: Retry-After is %q", c.status, r.header.Get("Retry-After"))
			}
		}
	}
	if !strings.Contains(w.log.String(), errOutside.Error()) {
		t.Error("the log does not say what went wrong inside")
	}
}

// TestPanicIsAnswered has a bug of ours cost one request.
func TestPanicIsAnswered(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Adapters = panicking{newShelf()} })
	w.get(500, "/v1/models")
	w.get(200, "/healthz")
}

type panicking struct{ *shelf }

func (panicking) List() []serve.Info { panic("a bug") }

// TestTooManyRequests has those beyond the limit told to come later, while the others are answered.
func TestTooManyRequests(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Limits.Requests = 2 })
	w.engine.gate = make(chan struct{})
	answers := make(chan int, 2)
	for range 2 {
		go func() {
			res, err := w.client.Post(w.URL+completionsPath, "application/json", strings.NewReader(`{"prompt": "a"}`))
			if err != nil {
				answers <- 0
				return
			}
			res.Body.Close()
			answers <- res.StatusCode
		}()
	}
	wait(t, "two requests at work", func() bool { return w.engine.running() == 2 })
	w.post(429, completionsPath, `{"prompt": "a"}`)
	w.get(200, "/v1/models") // what costs nothing is answered all the same
	close(w.engine.gate)
	for range 2 {
		if s := <-answers; s != 200 {
			t.Errorf("a request within the limit = %d, want 200", s)
		}
	}
}

// wait polls for what other goroutines do.
func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestCancelled has the engine stop when the client goes, streamed or not.
func TestCancelled(t *testing.T) {
	w := newWorld(t, nil)
	w.engine.gate = make(chan struct{})
	before := runtime.NumGoroutine()
	for _, stream := range []string{"false", "true"} {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() {
			req, _ := http.NewRequestWithContext(ctx, "POST", w.URL+completionsPath, strings.NewReader(`{"prompt": "a b c", "n": 3, "stream": `+stream+`}`))
			req.Header.Set("Content-Type", "application/json")
			res, err := w.client.Do(req)
			if err == nil {
				_, err = io.ReadAll(res.Body)
				res.Body.Close()
			}
			done <- err
		}()
		wait(t, "three texts at work", func() bool { return w.engine.running() == 3 })
		w.engine.gate <- struct{}{}
		cancel()
		if err := <-done; err == nil {
			t.Error("a cancelled request ended well")
		}
		wait(t, "no text at work", func() bool { return w.engine.running() == 0 && len(w.api.slots) == 0 })
	}
	w.client.CloseIdleConnections()
	wait(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= before+2 }) // the listener's and the client's
}

// TestDeadline has an answer that takes too long end; a stream that has begun says so in its last event.
func TestDeadline(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Limits.Answer = 50 * time.Millisecond })
	w.engine.gate = make(chan struct{})
	w.post(504, completionsPath, `{"prompt": "a"}`)
	w = newWorld(t, nil)
	w.engine.fail, w.engine.good = context.DeadlineExceeded, 1
	r := w.post(200, completionsPath, `{"prompt": "a b c", "stream": true}`)
	events := r.data()
	if at(t, events[len(events)-1], "error", "code") != "timeout" {
		t.Errorf("the stream ends with %s, want an error", events[len(events)-1])
	}
}

// TestDrain has a draining server answer what it works on and refuse what is new.
func TestDrain(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Loading = true })
	w.get(503, "/readyz")
	w.api.Loaded()
	w.get(200, "/readyz")
	w.engine.gate = make(chan struct{})
	answer := make(chan reply, 1)
	go func() { answer <- w.do("POST", completionsPath, `{"prompt": "a"}`) }()
	wait(t, "a request at work", func() bool { return w.engine.running() == 1 })
	w.api.Drain()
	w.get(503, "/readyz")
	w.get(200, "/healthz")
	w.post(503, completionsPath, `{"prompt": "a"}`)
	close(w.engine.gate)
	if r := <-answer; r.status != 200 {
		t.Errorf("the request in flight = %d, want 200", r.status)
	}
}

// TestPageIsItsOwn has the page load nothing from elsewhere.
func TestPageIsItsOwn(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{"/", "/page/app.css", "/page/app.js", "/page/icon.svg"} {
		r := w.get(200, path)
		if p := r.header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || strings.Contains(p, "unsafe") {
			t.Errorf("%s: policy is %q", path, p)
		}
		for _, bad := range []string{"https://", "//cdn", "@import", "innerHTML", "style=", "onclick="} {
			if strings.Contains(r.body, bad) {
				t.Errorf("%s holds %q", path, bad)
			}
		}
	}
	w.get(404, "/page/none.js")
	w.get(404, "/page/app.go")
}
