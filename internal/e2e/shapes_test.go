package e2e

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestOtherServersShapes sends what clients of vLLM, LoRAX and llama-server send; requests and answers are held against openapi.json, and in the end
// every route of it was asked.
func TestOtherServersShapes(t *testing.T) {
	s := start(t)
	saveLoRA(t, s.model, filepath.Join(s.folder, "green"), 5)
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/v1/load_lora_adapter", `{"lora_name": "green", "lora_path": "green"}`, 200, "Success: LoRA adapter 'green' added successfully."},
		{"POST", "/v1/load_lora_adapter", `{"lora_name": "green", "lora_path": "red", "load_inplace": true}`, 200, "added successfully"},
		{"POST", "/v1/load_lora_adapter", `{"lora_name": "x", "lora_path": "../x"}`, 403, "outside"},
		{"POST", "/v1/completions", `{"model": "green", "prompt": "Once", "max_tokens": 4, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1}`, 200, "green"},
		{"POST", "/v1/completions", `{"prompt": ["Once", "The"], "max_tokens": 4, "echo": true, "logprobs": 2, "n": 2}`, 200, "top_logprobs"},
		{"POST", "/v1/completions", `{"prompt": "Once upon", "max_tokens": 0, "echo": true, "logprobs": 1}`, 200, "token_logprobs"},
		{"POST", "/v1/completions", `{"prompt": "Once", "stream": true, "max_tokens": 4}`, 200, "[DONE]"},
		{"POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "Once"}], "max_tokens": 4, "stream": true}`, 200, "[DONE]"},
		{"POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "Once"}], "max_tokens": 4, "logprobs": true, "top_logprobs": 1}`, 200, "assistant"},
		{"POST", "/v1/embeddings", `{"input": [[1, 2, 3]], "encoding_format": "base64"}`, 200, "embedding"},
		{"POST", "/v1/unload_lora_adapter", `{"lora_name": "green"}`, 200, "Success: LoRA adapter 'green' removed successfully."},
		{"POST", "/v1/unload_lora_adapter", `{"lora_name": "green"}`, 404, "NotFoundError"},
		{"GET", "/v1/models", "", 200, `"parent":"stories"`},
		{"GET", "/v1/models/red", "", 200, `"parent":"stories"`},
		{"GET", "/v1/models/none", "", 404, "does not exist"},
		{"POST", "/tokenize", `{"prompt": "Once upon a time", "return_token_strs": true}`, 200, "max_model_len"},
		{"POST", "/tokenize", `{"messages": [{"role": "user", "content": "Once"}]}`, 200, "count"},
		{"POST", "/detokenize", `{"tokens": [403, 407]}`, 200, "prompt"},
		{"POST", "/generate", `{"inputs": "Once", "parameters": {"max_new_tokens": 6, "temperature": 0.7, "top_p": 0.9, "seed": 3, "stop": ["."], "adapter_id": "red", "details": true}}`, 200, "generated_text"},
		{"POST", "/generate", `{"inputs": "Once", "parameters": {"max_new_tokens": 6, "merged_adapters": {"ids": ["red", "blue"], "weights": [0.5, 0.5], "merge_strategy": "linear"}}}`, 200, "generated_text"},
		{"POST", "/generate", `{"inputs": "Once", "parameters": {"merged_adapters": {"ids": ["red"], "merge_strategy": "dare_ties"}}}`, 400, "graft combine"},
		{"POST", "/generate_stream", `{"inputs": "Once", "parameters": {"max_new_tokens": 6, "adapter_id": "blue"}}`, 200, "generated_text"},
		{"GET", "/lora-adapters", "", 200, `"path":"blue"`},
		{"POST", "/lora-adapters", `[{"id": 0, "scale": 0.5}]`, 200, "success"},
		{"POST", "/lora-adapters", `[]`, 200, "success"},
		{"POST", "/v1/completions", `{"prompt": "Once", "max_tokens": 4, "lora": [{"id": 1, "scale": 0.5}, {"id": 0, "scale": 0.25}]}`, 200, "choices"},
		{"POST", "/classify", `{"input": "Once"}`, 400, "head"},
		{"POST", "/ner", `{"input": "Once"}`, 400, "head"},
		{"GET", "/metrics", "", 200, "graft_adapter_cache_hits_total"},
		{"GET", "/healthz", "", 200, "ok"},
		{"GET", "/readyz", "", 200, "ready"},
		{"GET", "/openapi.json", "", 200, "openapi"},
		{"GET", "/", "", 200, "<!doctype html>"},
		{"GET", "/page/app.js", "", 200, "fetch"},
		{"GET", "/page/app.css", "", 200, "color-scheme"},
	} {
		req, err := http.NewRequest(c.method, s.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+admin)
		if c.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		res, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != c.status || !strings.Contains(string(b), c.says) {
			t.Errorf("%s %s %s = %d, %v, want %d and %q\n%s", c.method, c.path, c.body, res.StatusCode, err, c.status, c.says, b)
		}
	}
	const routes = 21 // of openapi.json
	if len(s.check.seen) != routes {
		t.Errorf("%d routes were asked, want all %d: %v", len(s.check.seen), routes, s.check.seen)
	}
}
