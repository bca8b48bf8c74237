package methods_test

import (
	"testing"

	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
)

// FuzzParseConfig reads any bytes as adapter_config.json of any method: what is accepted can be checked and written.
func FuzzParseConfig(f *testing.F) {
	for _, m := range methods.All {
		b, err := m.New().JSON()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add([]byte(`{"peft_type": "` + m.Type + `", "r": -1, "rank_pattern": {"(": 0}, "target_modules": 3, "init_weights": 7}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := peft.ParseConfig(b, methods.All)
		if err != nil {
			return
		}
		_ = c.Validate()
		if _, err := c.JSON(); err != nil {
			t.Errorf("read but not written: %v", err)
		}
	})
}
