package checkpoint

import (
	"bytes"
	"encoding/json"
	"slices"
)

// configNames are the float dtypes as config.json spells them.
var configNames = map[DType]string{F32: "float32", F16: "float16", BF16: "bfloat16", F64: "float64"}

// SetConfigDType changes the dtype that a config.json states, if it states one, and nothing else of it.
func SetConfigDType(config []byte, d DType) []byte {
	for _, key := range []string{"dtype", "torch_dtype"} {
		if at, ok := topLevel(config, key); ok {
			return slices.Concat(config[:at[0]], []byte(`"`+configNames[d]+`"`), config[at[1]:])
		}
	}
	return config
}

// SetConfig sets a key of a config.json to a JSON value and leaves the rest as it is.
func SetConfig(config []byte, key, value string) []byte {
	if at, ok := topLevel(config, key); ok {
		return slices.Concat(config[:at[0]], []byte(value), config[at[1]:])
	}
	open := bytes.IndexByte(config, '{') + 1
	if open == 0 {
		return config
	}
	sep := ","
	if bytes.HasPrefix(bytes.TrimSpace(config[open:]), []byte("}")) {
		sep = ""
	}
	return slices.Concat(config[:open], []byte("\n  \""+key+"\": "+value+sep), config[open:])
}

// topLevel finds the place of a key's value in a JSON object.
func topLevel(object []byte, key string) (at [2]int, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(object))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return at, false
	}
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			return at, false
		}
		var v json.RawMessage
		if dec.Decode(&v) != nil {
			return at, false
		}
		if end := int(dec.InputOffset()); k == key {
			return [2]int{end - len(v), end}, true
		}
	}
	return at, false
}

// RemoveConfig takes a key out of a config.json and leaves the rest as it is.
func RemoveConfig(config []byte, key string) []byte {
	at, ok := topLevel(config, key)
	if !ok {
		return config
	}
	name, _ := json.Marshal(key)
	start := bytes.LastIndex(config[:at[0]], name)
	if start < 0 { // written with escapes
		return config
	}
	before, after := bytes.TrimRight(config[:start], " \t\r\n"), config[at[1]:]
	if rest := bytes.TrimLeft(after, " \t\r\n"); bytes.HasPrefix(rest, []byte(",")) {
		after = rest[1:]
	} else {
		before = bytes.TrimSuffix(before, []byte(","))
	}
	return slices.Concat(before, after)
}
