//go:build linux || darwin

package cli

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
	"syscall"
	"testing"
	"time"
)

// until reads log lines until one has a message, and gives it.
func (s *started) until(t *testing.T, message string) map[string]any {
	t.Helper()
	for s.lines.Scan() {
		s.text.WriteString(s.lines.Text() + "\n")
		var line map[string]any
		if json.Unmarshal(s.lines.Bytes(), &line) == nil && line["msg"] == message {
			return line
		}
	}
	t.Fatalf("no log line %q in\n%s", message, s.text.String())
	return nil
}

// TestServe starts the program over a trained adapter in a folder, asks it, replaces and removes the adapter, and ends it by SIGTERM: the
// request in flight is answered, the exit code is 0, and the log says nothing of what was said.
func TestServe(t *testing.T) {
	dir := newWorld(t)
	adapters := filepath.Join(dir, "adapters")
	if err := os.CopyFS(filepath.Join(adapters, "first"), os.DirFS(filepath.Join(dir, "run", "adapter"))); err != nil {
		t.Fatal(err)
	}
	s := start(t, dir, []string{"GRAFT_API_KEYS=admin sk-0123456789abcdef tester"}, "serve", "base", "--adapters", "adapters", "--listen", "127.0.0.1:0", "--log-level", "debug",
		"--allow-zero")
	t.Cleanup(func() { s.Process.Kill() })
	address := s.until(t, "serving")["address"].(string)
	ask := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer sk-0123456789abcdef")
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	eventually := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	eventually("ready", func() bool { status, _ := ask("GET", "/readyz", ""); return status == 200 })
	const question = `{"model": "first", "prompt": "a private matter", "max_tokens": 5, "temperature": 0}`
	if status, body := ask("POST", "/v1/completions", question); status != 200 || !strings.Contains(body, `"model":"first"`) {
		t.Fatalf("%d %s", status, body)
	}
	if err := os.Rename(filepath.Join(adapters, "first"), filepath.Join(adapters, "second")); err != nil {
		t.Fatal(err)
	}
	eventually("the second adapter instead of the first", func() bool {
		_, body := ask("GET", "/v1/models", "")
		return strings.Contains(body, `"id":"second"`) && !strings.Contains(body, `"id":"first"`)
	})
	if status, body := ask("POST", "/v1/load_lora_adapter", `{"lora_name": "x", "lora_path": "second"}`); status != 403 {
		t.Errorf("loading by request = %d %s, want it refused", status, body)
	}
	if status, _ := ask("POST", "/v1/completions", `{"model": "second", "prompt": "a private matter", "max_tokens": 5, "stream": true}`); status != 200 {
		t.Errorf("a stream = %d", status)
	}
	drained(t, s, address)
	if strings.Contains(s.text.String(), "private") || !strings.Contains(s.text.String(), `"key":"tester"`) {
		t.Errorf("the log is\n%s", s.text.String())
	}
}

// drained sends the headers of a request, then SIGTERM, then the body.
func drained(t *testing.T, s *started, address string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const body = `{"model": "second", "prompt": "a", "max_tokens": 5}`
	fmt.Fprintf(conn, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-0123456789abcdef\r\nContent-Type: application/json\r\n"+
		"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body))
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("%q, %v, want to be told to continue", line, err)
	}
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.until(t, "draining")
	if _, err := io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 {
		t.Errorf("the request in flight = %d, %v, want 200", res.StatusCode, err)
	}
	s.until(t, "stopped")
	if err := s.Wait(); err != nil {
		t.Errorf("the server ends with %v, want exit code 0", err)
	}
}
