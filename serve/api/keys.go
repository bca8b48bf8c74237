package api

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Scope is what a key opens.
type Scope uint8

// Scopes. Admin opens what use opens, too.
const (
	Open  Scope = iota // no key is needed
	Use                // ask the model
	Admin              // change what is served, read the metrics
)

var scopes = map[string]Scope{"use": Use, "admin": Admin}

func (s Scope) String() string { return [...]string{"open", "use", "admin"}[s] }

// Key is a key without the key: its hash, so that nothing that prints it tells it.
type Key struct {
	Name  string // for the log
	Scope Scope
	hash  [sha256.Size]byte
}

// Keys are all that are known.
type Keys []Key

// minKey keeps out keys that can be guessed.
const minKey = 16

// ReadKeys reads keys, one a line: scope, key, and if wanted a name for the log; # begins a comment.
//
//	use   sk-5b0f…   mobile app
//	admin sk-91c2…
func ReadKeys(r io.Reader, name string) (Keys, error) {
	var list Keys
	seen := map[[sha256.Size]byte]int{}
	in := bufio.NewScanner(r)
	for line := 1; in.Scan(); line++ {
		text, _, _ := strings.Cut(in.Text(), "#")
		f := strings.Fields(text)
		if len(f) == 0 {
			continue
		}
		scope, ok := scopes[f[0]]
		if !ok || len(f) < 2 {
			return nil, fmt.Errorf("api: %s:%d: want \"use KEY [NAME]\" or \"admin KEY [NAME]\"", name, line)
		}
		if len(f[1]) < minKey {
			return nil, fmt.Errorf("api: %s:%d: the key has %d characters, want at least %d", name, line, len(f[1]), minKey)
		}
		k := Key{Name: strings.Join(f[2:], " "), Scope: scope, hash: sha256.Sum256([]byte(f[1]))}
		if k.Name == "" {
			k.Name = fmt.Sprintf("key %d", len(list)+1)
		}
		if first, twice := seen[k.hash]; twice {
			return nil, fmt.Errorf("api: %s:%d: the key of line %d again", name, line, first)
		}
		seen[k.hash] = line
		list = append(list, k)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("api: %s: %w", name, err)
	}
	return list, nil
}

// find looks a key up. It compares with every key, each in constant time, so that time tells nothing about any.
func (k Keys) find(key string) (found Key, ok bool) {
	hash := sha256.Sum256([]byte(key))
	for _, x := range k {
		if subtle.ConstantTimeCompare(hash[:], x.hash[:]) == 1 {
			found, ok = x, true
		}
	}
	return found, ok
}

// authorize checks that a request may do what needs a scope, and says whose it is.
func (s *Server) authorize(r *http.Request, need Scope) (Key, error) {
	if need == Open || len(s.Keys) == 0 {
		return Key{Name: "anonymous"}, nil
	}
	given := r.Header.Values("Authorization")
	if len(given) == 0 {
		return Key{}, refusal(http.StatusUnauthorized, noAccess, "missing_api_key", "no API key: want the header Authorization: Bearer KEY")
	}
	scheme, key, _ := strings.Cut(given[0], " ")
	found, ok := s.Keys.find(strings.TrimSpace(key))
	if len(given) > 1 || !strings.EqualFold(scheme, "Bearer") || !ok {
		return Key{}, refusal(http.StatusUnauthorized, noAccess, "invalid_api_key", "the API key is not known here")
	}
	if found.Scope < need {
		return found, refusal(http.StatusForbidden, noRight, "wrong_scope", "the API key has the scope %s, want %s", found.Scope, need)
	}
	return found, nil
}
