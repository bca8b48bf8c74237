package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzHTTP sends anything to any route. Whatever it is, the answer has a status that is no fault of ours, JSON where it says so, OpenAI's form
// where it is an error, and the server answers the next request as before.
//
//	go test ./serve/api -run '^$' -fuzz FuzzHTTP -fuzztime 10m
func FuzzHTTP(f *testing.F) {
	for _, b := range hostile() {
		if len(b.body) < 2000 {
			f.Add(b.method, b.path, b.body, strings.Join(b.headers, "\n"))
		}
	}
	for _, body := range []string{
		`{"prompt": "a", "n": 2, "stream": true, "stream_options": {"include_usage": true}, "stop": ["x"], "logprobs": 2, "logit_bias": {"5": 1}}`,
		`{"messages": [{"role": "user", "content": [{"type": "text", "text": "石"}]}], "tools": [{"type": "function", "function": {"name": "f"}}]}`,
		`{"inputs": "a", "parameters": {"merged_adapters": {"ids": ["en", "zh"], "weights": [1, 2]}, "details": true}}`,
		`[{"id": 0, "scale": 0.5}]`, `{"lora_name": "x", "lora_path": "good", "load_inplace": true}`, `{"tokens": [1, 2, 3]}`, `{"input": ["a"], "text_pair": ["b"]}`,
	} {
		for _, r := range table {
			f.Add(r.method, r.path, body, "")
		}
	}
	w := hostileWorld(f)
	f.Fuzz(func(t *testing.T, method, path, body, headers string) {
		r, err := http.NewRequest(method, "http://localhost/", strings.NewReader(body))
		if err != nil {
			return // no method
		}
		r.URL.Path, r.Host, r.RemoteAddr = path, "localhost", "192.0.2.1:1"
		r.Header.Set("Content-Type", "application/json")
		for _, h := range strings.Split(headers, "\n") {
			if name, value, ok := strings.Cut(h, ": "); ok {
				r.Header.Set(name, value)
			}
		}
		rec := httptest.NewRecorder()
		w.api.ServeHTTP(rec, r)
		if rec.Code < 200 || rec.Code == 500 || rec.Code > 599 {
			t.Fatalf("%s %q = %d\n%s\n%s", method, path, rec.Code, rec.Body, w.log)
		}
		text := rec.Body.String()
		if rec.Header().Get("Content-Type") == "application/json" {
			var v struct {
				Error *struct{ Message, Type *string }
			}
			if strings.HasPrefix(text, "{") {
				if err := json.Unmarshal([]byte(text), &v); err != nil {
					t.Fatalf("%v in %s", err, text)
				}
			}
			if rec.Code >= 400 && (v.Error == nil || v.Error.Message == nil || v.Error.Type == nil) {
				t.Fatalf("%d is not in OpenAI's form: %s", rec.Code, text)
			}
		}
		if len(w.api.slots) != 0 || w.engine.running() != 0 {
			t.Fatalf("%s %q left %d requests and %d texts behind", method, path, len(w.api.slots), w.engine.running())
		}
		w.engine.got = nil
		w.log.b.Reset()
	})
}
