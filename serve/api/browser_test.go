//go:build unix

package api

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	long  = flag.Bool("long", false, "run the heavier suites in full")
	shots = flag.String("shots", "", "folder for pictures of the page")
)

// browser is a headless Chromium that is talked to through two pipes.
type browser struct {
	t       *testing.T
	in      io.Writer
	mu      sync.Mutex
	waiting map[int]chan json.RawMessage
	next    int
	session string
}

// startBrowser skips where there is no browser.
func startBrowser(t *testing.T) *browser {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no chromium or google-chrome on the PATH: the page is not clicked through")
	}
	toRead, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, toWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{toRead, toWrite} // 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	toRead.Close()
	toWrite.Close()
	b := &browser{t: t, in: in, waiting: map[int]chan json.RawMessage{}}
	go b.listen(out)
	t.Cleanup(func() {
		b.call("Browser.close", nil)
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Logf("browser: %v", err)
		}
		out.Close()
	})
	var target struct{ TargetID string }
	b.decode(b.call("Target.createTarget", map[string]any{"url": "about:blank"}), &target)
	var session struct{ SessionID string }
	b.decode(b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}), &session)
	b.session = session.SessionID
	b.call("Page.enable", nil)
	b.call("Runtime.enable", nil)
	return b
}

// listen hands answers to who waits for them; messages end with a zero.
func (b *browser) listen(out io.Reader) {
	in := bufio.NewReader(out)
	for {
		msg, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var m struct {
			ID     int
			Result json.RawMessage
			Error  json.RawMessage
			Method string
		}
		if json.Unmarshal(msg[:len(msg)-1], &m) != nil || m.ID == 0 {
			continue
		}
		b.mu.Lock()
		ch := b.waiting[m.ID]
		delete(b.waiting, m.ID)
		b.mu.Unlock()
		if m.Error != nil {
			m.Result = m.Error
		}
		ch <- m.Result
	}
}

// call asks the browser and waits for its answer.
func (b *browser) call(method string, params map[string]any) json.RawMessage {
	b.t.Helper()
	b.mu.Lock()
	b.next++
	id, ch := b.next, make(chan json.RawMessage, 1)
	b.waiting[id] = ch
	b.mu.Unlock()
	m := map[string]any{"id": id, "method": method}
	if params != nil {
		m["params"] = params
	}
	if b.session != "" && !strings.HasPrefix(method, "Browser.") {
		m["sessionId"] = b.session
	}
	msg, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.in.Write(append(msg, 0)); err != nil {
		b.t.Fatal(err)
	}
	select {
	case r := <-ch:
		return r
	case <-time.After(time.Minute): // a browser that hangs must not hang the suite
		b.t.Fatalf("browser: no answer to %s", method)
		return nil
	}
}

func (b *browser) decode(raw json.RawMessage, to any) {
	b.t.Helper()
	if err := json.Unmarshal(raw, to); err != nil {
		b.t.Fatalf("browser: %v in %s", err, raw)
	}
}

// eval runs a script, which may be a promise, and gives its value as JSON.
func (b *browser) eval(script string) string {
	b.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails any
	}
	raw := b.call("Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true})
	b.decode(raw, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("browser: %s: %s", script, raw)
	}
	return string(r.Result.Value)
}

// until waits for a condition of the page.
func (b *browser) until(condition string) {
	b.t.Helper()
	if got := b.eval(`new Promise((done) => { const end = Date.now() + 20000; const look = () => { if (` + condition + `) done(true); else if (Date.now() > end) done(document.body.innerText); else setTimeout(look, 20); }; look(); })`); got != "true" {
		b.t.Fatalf("the page never came to %s; it says %s", condition, got)
	}
}

// key presses a key.
func (b *browser) key(name string, code int, text string) {
	for _, kind := range []string{"keyDown", "keyUp"} {
		p := map[string]any{"type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code}
		if kind == "keyDown" && text != "" {
			p["text"] = text
		}
		b.call("Input.dispatchKeyEvent", p)
	}
}

// shoot takes a picture of the window, if pictures are wanted.
func (b *browser) shoot(name string) {
	if *shots == "" {
		return
	}
	var r struct{ Data string }
	b.decode(b.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}), &r)
	png, err := base64.StdEncoding.DecodeString(r.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(*shots, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// TestPageInBrowser clicks through a chat that is streamed, at two widths, by keyboard alone.
func TestPageInBrowser(t *testing.T) {
	if !*long {
		t.Skip("the page in a browser: with -long")
	}
	b := startBrowser(t)
	w := newWorld(t, nil)
	for _, v := range []struct {
		width, height int
		scheme        string
	}{{1280, 800, "light"}, {390, 844, "light"}, {1280, 800, "dark"}, {390, 844, "dark"}} {
		t.Run(fmt.Sprintf("%d wide, %s", v.width, v.scheme), func(t *testing.T) {
			b.t = t
			w.engine.gate = make(chan struct{})
			b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": v.width, "height": v.height, "deviceScaleFactor": 1, "mobile": v.width < 500})
			b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": v.scheme}}})
			b.call("Page.navigate", map[string]any{"url": w.URL})
			b.until(`document.querySelectorAll("#adapters li").length === 2 && document.activeElement.id === "text"`)
			b.shoot(fmt.Sprintf("empty-%d-%s", v.width, v.scheme))
			b.eval(`document.getElementById("compare").focus()`)
			b.key("Enter", 13, "\r")
			b.until(`document.querySelectorAll(".column").length === 2 && document.querySelectorAll(".column select")[1].value === "en"`)
			b.eval(`document.getElementById("text").focus()`)
			b.call("Input.insertText", map[string]any{"text": "石窑餐厅供应什么？ Tell me."})
			b.key("Enter", 13, "\r")
			b.until(`!document.getElementById("stop").hidden && document.querySelectorAll(".turn.waiting").length === 2`)
			for range 12 { // six tokens of each, and no more
				w.engine.gate <- struct{}{}
			}
			b.until(`[...document.querySelectorAll(".turn.waiting")].every((e) => e.textContent.length > 0)`)
			b.shoot(fmt.Sprintf("streaming-%d-%s", v.width, v.scheme))
			if got := b.eval(`document.documentElement.scrollWidth <= innerWidth`); got != "true" {
				t.Error("the page is wider than the window")
			}
			close(w.engine.gate)
			b.until(`document.getElementById("stop").hidden && document.querySelectorAll(".turn small").length === 2`)
			b.shoot(fmt.Sprintf("done-%d-%s", v.width, v.scheme))
			for i, want := range []string{"[]<|user|>石窑餐厅供应什么？ Tell me.", "[en]<|user|>石窑餐厅供应什么？ Tell me."} {
				var got string
				b.decode(json.RawMessage(b.eval(fmt.Sprintf(`document.querySelectorAll(".turn.assistant")[%d].firstChild.data`, i))), &got)
				if !strings.HasPrefix(got, want) {
					t.Errorf("answer %d is %q, want %q at its beginning", i, got, want)
				}
			}
		})
	}
}
