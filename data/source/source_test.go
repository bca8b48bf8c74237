package source

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// show writes rows as "3:a=x,b=1", one a line; errors as "!" and their text.
func show(f Files) []string {
	var out []string
	for row, err := range f.Rows() {
		if err != nil {
			out = append(out, "!"+err.Error())
			continue
		}
		var fields []string
		for _, x := range row.Fields {
			fields = append(fields, fmt.Sprintf("%s=%v", x.Name, x.Value))
		}
		at := row.Line
		if at == 0 {
			at = row.Row
		}
		out = append(out, fmt.Sprintf("%d:%s", at, strings.Join(fields, ",")))
	}
	return out
}

func one(name, content string) Files {
	return Files{FS: fstest.MapFS{name: {Data: []byte(content)}}, Path: name}
}

func zipped(t *testing.T, name, content string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		name, file, content string
		want                []string
	}{
		{"json lines", "x.jsonl", "{\"a\":1}\n\n{\"b\":\"x\"}", []string{"1:a=1", "3:b=x"}},
		{"windows' lines and a byte order mark", "x.jsonl", "\ufeff{\"a\":1}\r\n{\"b\":\"x\"}\r\n", []string{"1:a=1", "2:b=x"}},
		{"nothing", "x.jsonl", "", nil},
		{"only blank lines", "x.jsonl", " \n\n\t\n", nil},
		{"a list", "x.json", "[\n{\"a\":1},\n {\"a\":\n[2, {\"b\": \"]\\\"\"}]}\n]\n", []string{"2:a=1", "3:a=[2 [{b ]\"}]]"}},
		{"an empty list", "x.json", " [ ] ", nil},
		{"a list under data", "x.json", `{"version":1,"data":[{"a":1},{"a":2}]}`, []string{"1:a=1", "2:a=2"}},
		{"columns", "x.json", `{"a":[1,2],"b":["x","y"]}`, []string{"1:a=1,b=x", "2:a=2,b=y"}},
		{"one row with messages", "x.json", `{"messages":[{"role":"user"}]}`, []string{"1:messages=[[{role user}]]"}},
		{"objects one after the other", "x.json", "{\"a\":\n1}\n{\"a\":2} {\"a\":3}", []string{"1:a=1", "3:a=2", "3:a=3"}},
		{"csv", "x.csv", "a,b\n1,\"x, \"\"y\"\"\nz\"\n\n2,\n", []string{"2:a=1,b=x, \"y\"\nz", "5:a=2,b="}},
		{"csv of nothing but a header", "x.csv", "a,b\n", nil},
		{"tsv", "x.tsv", "\ufeffa\tb\n1\tx, y\n", []string{"2:a=1,b=x, y"}},
		{"tsv with quotes in the text", "x.tsv", "a\tb\n1\t\"x\" and y\n2\t\"x \"\"y\"\"\"\n", []string{"2:a=1,b=\"x\" and y", "3:a=2,b=x \"y\""}},
		{"tagged words", "x.conll", "-DOCSTART- -X- O O\n\nIn IN O\nRome NNP B-LOC\n\n\n a\tI-PER\n", []string{"3:tokens=[In Rome],tags=[O B-LOC]", "7:tokens=[ a],tags=[I-PER]"}},
		{"tagged words with their language", "train", "en:Rome\tB-LOC\nen::\tO\n\nen:a:b\tO\n", []string{"1:tokens=[Rome :],tags=[B-LOC O]", "4:tokens=[a:b],tags=[O]"}},
		{"words that look like a language", "x.iob", "re:x O\nyes O\n", []string{"1:tokens=[re:x yes],tags=[O O]"}},
		{"text that is not tagged", "x", "one O\ntwo three\n", []string{"1:text=one O", "2:text=two three"}},
		{"lines", "x.txt", "one \n\n  two\r\nthree", []string{"1:text=one ", "3:text=  two", "4:text=three"}},
		{"json without a name", "x", `[{"a":1}]`, []string{"1:a=1"}},
		{"text without a name", "x.dat", "hello", []string{"1:text=hello"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := show(one(c.file, c.content)); !slices.Equal(got, c.want) {
				t.Errorf("%q gives %q, want %q", c.content, got, c.want)
			}
		})
		t.Run(c.name+", in an archive", func(t *testing.T) {
			f := one("d.zip", zipped(t, "sub/"+c.file, c.content))
			f.Path += "/sub/" + c.file
			if got := show(f); !slices.Equal(got, c.want) {
				t.Errorf("zip: %q gives %q, want %q", c.content, got, c.want)
			}
		})
		t.Run(c.name+", compressed", func(t *testing.T) {
			if got := show(one(c.file+".gz", gzipped(c.content))); !slices.Equal(got, c.want) {
				t.Errorf("gzip: %q gives %q, want %q", c.content, got, c.want)
			}
			if got := show(one(c.file+".zst", zstded(c.content))); !slices.Equal(got, c.want) {
				t.Errorf("zstd: %q gives %q, want %q", c.content, got, c.want)
			}
		})
	}
}

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

func zstded(s string) string {
	var b bytes.Buffer
	w, _ := zstd.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

func TestUnits(t *testing.T) {
	const text = "a\r\nb\n\n\nc\n \nd"
	for _, c := range []struct {
		unit string
		want []string
	}{
		{"line", []string{"1:text=a", "2:text=b", "5:text=c", "7:text=d"}},
		{"paragraph", []string{"1:text=a\nb", "5:text=c", "7:text=d"}},
		{"file", []string{"1:text=a\nb\n\n\nc\n \nd"}},
	} {
		f := one("x.txt", text)
		f.Unit = c.unit
		if got := show(f); !slices.Equal(got, c.want) {
			t.Errorf("unit %q gives %q, want %q", c.unit, got, c.want)
		}
	}
}

func TestParquet(t *testing.T) {
	want := map[string][]string{
		"chat.parquet": {
			"1:messages=[[{role user} {content Zwei?} {tool_calls <nil>}] [{role assistant} {content Deux.} {tool_calls []}]],id=7",
			"2:messages=[[{role assistant} {content <nil>} {tool_calls [[{name f} {arguments {}}]]}]],id=8",
			"3:messages=[],id=9",
		},
		"columns.parquet": {
			"1:prompt=café,completion=x,score=0.5,good=true,history=[[q a]],kind=u,extra=[{z 1} {a s}]",
			"2:prompt=b,completion=y,score=-1,good=false,history=[],kind=v,extra=<nil>",
			"3:prompt=<nil>,completion=z,score=2.25,good=<nil>,history=<nil>,kind=u,extra=[{z <nil>} {a t}]",
		},
	}
	for _, name := range []string{"chat.parquet", "columns.parquet"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if got := show(Files{FS: os.DirFS("testdata"), Path: name}); !slices.Equal(got, want[name]) {
			t.Errorf("%s gives %q, want %q", name, got, want[name])
		}
		if got := show(one("x", gzipped(string(b)))); !slices.Equal(got, want[name]) {
			t.Errorf("%s, compressed and without a name, gives %q, want %q", name, got, want[name])
		}
		t.Run("every truncation of "+name+" is an error", func(t *testing.T) {
			for n := range b {
				got := show(one("x.parquet", string(b[:n])))
				if len(got) != 1 || !strings.HasPrefix(got[0], "!data: x.parquet: bad Parquet: ") {
					t.Fatalf("%d bytes give %q", n, got)
				}
			}
		})
	}
}

func TestHugeLine(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	for name, content := range map[string]string{"x.jsonl": `{"text":"` + long + `"}`, "x.csv": "text\n" + long, "x.txt": long, "x.json": `[{"text":"` + long + `"}]`} {
		if got := show(one(name, content)); len(got) != 1 || !strings.HasSuffix(got[0], ":text="+long) {
			t.Errorf("%s: a line of 3 MiB is not read", name)
		}
	}
}

func TestFiles(t *testing.T) {
	tree := fstest.MapFS{
		"a/one.jsonl":       {Data: []byte("{\"n\":1}\n{\"n\":2}\n")},
		"a/two.jsonl.gz":    {Data: []byte(gzipped("{\"n\":3}\n"))},
		"a/sub/three.jsonl": {Data: []byte("{\"n\":4}\n")},
		"a/.hidden.jsonl":   {Data: []byte("{\"n\":5}\n")},
		"a/README":          {Data: []byte("x")},
		"b/one.jsonl":       {Data: []byte("{\"n\":1}\n")},
		"b/HOW.txt":         {Data: []byte("x")},
		"c/x[1].txt":        {Data: []byte("x")},
		"d/README":          {Data: []byte("x")},
	}
	for _, c := range []struct {
		name string
		f    Files
		want []string
	}{
		{"a file", Files{Path: "a/one.jsonl"}, []string{"1:n=1", "2:n=2"}},
		{"a folder", Files{Path: "a"}, []string{"1:n=1", "2:n=2", "1:n=4", "1:n=3"}},
		{"a pattern", Files{Path: "a/*.jsonl*"}, []string{"1:n=5", "1:n=1", "2:n=2", "1:n=3"}},
		{"a file with brackets in its name", Files{Path: "c/x[1].txt"}, []string{"1:text=x"}},
		{"skip and max_rows", Files{Path: "a", Skip: 1, MaxRows: 2}, []string{"2:n=2", "1:n=4"}},
		{"a format that the name does not say", Files{Path: "b/one.jsonl", Format: "text"}, []string{`1:text={"n":1}`}},
		{"files of one format of a folder", Files{Path: "b", Format: "jsonl"}, []string{"1:n=1"}},
		{"no such file", Files{Path: "b/two.jsonl", Dir: "dir"}, []string{"!data: dir/b/two.jsonl: no such file; its folder has HOW.txt, one.jsonl"}},
		{"no match", Files{Path: "b/*.csv"}, []string{"!data: b/*.csv: no file matches the pattern"}},
		{"several formats", Files{Path: "b"}, []string{"!data: b: the folder has files of several formats, jsonl (one.jsonl), text (HOW.txt); name a pattern or the format"}},
		{"nothing known", Files{Path: "d"}, []string{"!data: d: no file of a known format in the folder"}},
		{"bad settings", Files{Path: "b", Format: "xml", Unit: "word", Skip: -1, MaxRows: -1}, []string{"!data: format is \"xml\", want one of jsonl, json, csv, tsv, parquet, conll, parallel, text\ndata: unit is \"word\", want one of line, paragraph, file\ndata: skip is -1, want at least 0\ndata: max_rows is -1, want at least 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.f.FS = tree
			if got := show(c.f); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestBadFiles(t *testing.T) {
	for _, c := range []struct {
		name, file, content string
		want                []string
	}{
		{"bad JSON in a line does not end the file", "x.jsonl", "{\"a\":1}\n{\"a\" 1}\n{\"a\":2}\n", []string{"1:a=1", `!data: x.jsonl:2: bad JSON at byte 6: '1', want ':'`, "3:a=2"}},
		{"a line that is no object", "x.jsonl", "[1]\n", []string{"!data: x.jsonl:1: the row is a list, want an object {…}"}},
		{"a field twice", "x.jsonl", `{"a":1,"a":2}`, []string{`!data: x.jsonl:1: bad JSON at byte 8: field "a" twice`}},
		{"NaN", "x.jsonl", `{"a":NaN}`, []string{`!data: x.jsonl:1: bad JSON at byte 6: 'N', want a value`}},
		{"half a surrogate pair", "x.jsonl", `{"a":"\ud83d"}`, []string{`!data: x.jsonl:1: bad JSON at byte 7: half of a surrogate pair (\ud83d)`}},
		{"bytes that are not UTF-8", "x.jsonl", "{\"a\":\"\xff\"}", []string{`!data: x.jsonl:1: bad JSON at byte 7: string with byte 0xff, which is not UTF-8`}},
		{"UTF-16", "x.jsonl", "\xff\xfe{\x00", []string{"!data: x.jsonl: the text is UTF-16, want UTF-8"}},
		{"nested too deep", "x.jsonl", `{"a":` + strings.Repeat("[", 1000), []string{"!data: x.jsonl:1: bad JSON at byte 506: nested deeper than 500"}},
		{"a row of a list names its own line", "x.json", "[{\"a\":1},\n{\"a\":\n  tru}\n]", []string{"1:a=1", `!data: x.json:3: bad JSON at byte 3: 't', want a value`}},
		{"a list that does not end", "x.json", "[{\"a\":1},\n", []string{"1:a=1", "!data: x.json:2: the file ends within the list"}},
		{"a row that does not end", "x.json", "[{\"a\":1},\n{\"a\":", []string{"1:a=1", "!data: x.json:2: bad JSON at byte 6: end of text, want a value", "!data: x.json:2: the file ends within the list"}},
		{"a missing comma", "x.json", "[{\"a\":1}\n{\"a\":2}]", []string{"1:a=1", "!data: x.json:2: '{' after a row, want ',' or ']'"}},
		{"something after the list", "x.json", "[{\"a\":1}]\nx", []string{"1:a=1", "!data: x.json:2: 'x' after the end of the list"}},
		{"a list of texts", "x.json", `["a"]`, []string{"!data: x.json:1: the row is a string, want an object {…}"}},
		{"data that are no objects", "x.json", `{"data":[1]}`, []string{"!data: x.json: row 1: the row is a number, want an object {…}"}},
		{"a record too short", "x.csv", "a,b\n1\n2,3\n", []string{"!data: x.csv:2: 1 fields, want 2 as in the header", "3:a=2,b=3"}},
		{"a misplaced quote", "x.csv", "a,b\n1,x\"y\n", []string{`!data: x.csv:2: byte 4: bare " in non-quoted-field`}},
		{"a quote that does not end", "x.csv", "a,b\n1,\"x\n2,y\n", []string{`!data: x.csv:2: record up to line 3: extraneous or missing " in quoted-field`}},
		{"a header with a name twice and one missing", "x.csv", "a,,a\n", []string{"!data: x.csv:1: column 2 has no name in the header\ndata: x.csv:1: column \"a\" twice in the header"}},
		{"csv that is not UTF-8", "x.csv", "a\ncaf\xe9\n", []string{`!data: x.csv:2: column "a": byte 4 is 0xe9, which is not UTF-8`}},
		{"a line that is not UTF-8", "x.txt", "ok\ncaf\xe9\nok\n", []string{"1:text=ok", "!data: x.txt:2: byte 4 is 0xe9, which is not UTF-8", "3:text=ok"}},
		{"a truncated gzip file", "x.jsonl.gz", gzipped("{\"a\":1}\n")[:20], []string{"!data: x.jsonl.gz:1: unexpected EOF"}},
		{"a gzip file with another checksum", "x.txt.gz", gzipped("abc\n")[:len(gzipped("abc\n"))-8] + "12345678", []string{"1:text=abc", "!data: x.txt.gz:2: gzip: invalid checksum"}},
		{"a truncated zstd file", "x.txt.zst", zstded("abc\n")[:10], []string{"!data: x.txt.zst:1: unexpected EOF"}},
		{"what is no Parquet", "x.parquet", "PAR1 hello", []string{"!data: x.parquet: bad Parquet: reading magic footer of parquet file: EOF"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := show(one(c.file, c.content))
			if c.file == "x.parquet" && len(got) == 1 && strings.HasPrefix(got[0], "!data: x.parquet: bad Parquet: ") {
				return // the rest is the library's
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q gives %q, want %q", c.content, got, c.want)
			}
		})
	}
}

func TestArchives(t *testing.T) {
	whole := zipped(t, "b.tsv", "a\n1\n")
	for _, c := range []struct {
		name, path, content string
		want                []string
	}{
		{"all files in it", "x.zip", whole, []string{"2:a=1"}},
		{"a pattern in it", "x.zip/*.tsv", whole, []string{"2:a=1"}},
		{"a file that it has not", "x.zip/c.tsv", whole, []string{"!data: x.zip/c.tsv: no such file; its folder has b.tsv"}},
		{"a way out of it", "x.zip/../x.zip", whole, []string{"!data: x.zip: no such file"}},
		{"no archive", "y.zip/b.tsv", whole, []string{"!data: y.zip/b.tsv: no such file"}},
		{"cut off", "x.zip/b.tsv", whole[:len(whole)/2], []string{"!data: x.zip: zip: not a valid zip file"}},
		{"damaged", "x.zip/b.tsv", strings.Replace(whole, "PK\x03\x04", "PK\x03\x05", 1), []string{"!data: x.zip/b.tsv: zip: not a valid zip file"}},
	} {
		f := one("x.zip", c.content)
		f.Path = c.path
		if got := show(f); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct{ in, dir, pattern string }{
		{"train.jsonl", ".", "train.jsonl"},
		{"a/b/train.jsonl", "a/b", "train.jsonl"},
		{"../a/*.csv", "../a", "*.csv"},
		{"a/*/x.csv", "a", "*/x.csv"},
		{"*.csv", ".", "*.csv"},
		{"a/b/", "a", "b"},
		{"..", "..", "."},
		{".", ".", "."},
		{"a/..", "a/..", "."},
		{"/x.csv", "/", "x.csv"},
		{"/", "/", "."},
		{"/a/b", "/a", "b"},
		{"a/b.zip/c/d.tsv", "a", "b.zip/c/d.tsv"},
		{"b.zip", ".", "b.zip"},
		{"a/*/b.zip/c.tsv", "a", "*/b.zip/c.tsv"},
	} {
		if dir, pattern := Split(c.in); dir != c.dir || pattern != c.pattern {
			t.Errorf("Split(%q) = %q, %q, want %q, %q", c.in, dir, pattern, c.dir, c.pattern)
		}
	}
}

func FuzzRows(f *testing.F) {
	for i, s := range []string{"{\"a\":1}\n", "[{\"a\":[1,\"]\"]},{}]", "{\"data\":[{\"a\":1}]}", "a,b\n1,\"2\n\"\n", "one\n\ntwo\r\n", "\ufeffx", gzipped("x")} {
		f.Add(i, []byte(s))
	}
	for _, name := range []string{"chat.parquet", "columns.parquet"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(4, b)
	}
	f.Fuzz(func(t *testing.T, format int, b []byte) {
		name := Formats[(format%len(Formats)+len(Formats))%len(Formats)].Name
		n := 0
		for row, err := range (Files{FS: fstest.MapFS{"x": {Data: b}}, Path: "x", Format: name}).Rows() {
			if err != nil && !strings.HasPrefix(err.Error(), "data: x") {
				t.Fatalf("%s: %v does not name the file", name, err)
			}
			if err == nil && row.Row == 0 {
				t.Fatalf("%s: a row without a number: %v", name, row)
			}
			if n++; n > 10000 {
				break
			}
		}
	})
}

func TestParallelFiles(t *testing.T) {
	for _, c := range []struct {
		name, in, label, out string
		want                 []string
	}{
		{"texts, labels and tags", "play it \nstop\n", "Play\nStop\n", "O B-x \nO\n",
			[]string{"1:text=play it,label=Play,tokens=[play it],tags=[O B-x]", "2:text=stop,label=Stop,tokens=[stop],tags=[O]"}},
		{"too few labels", "a\nb\n", "A\n", "O\nO\n", []string{"1:text=a,label=A,tokens=[a],tags=[O]", "!data: snips/label:1: 1 lines, want one for each text"}},
		{"too many tags", "a\n", "A\n", "O\nO\n", []string{"1:text=a,label=A,tokens=[a],tags=[O]", "!data: snips/seq.out:2: a line more than the texts have, want 1"}},
		{"a tag too few", "a b\nc\n", "A\nC\n", "O\nO\n", []string{"!data: snips/seq.out:1: 1 tags, want 2 as snips/seq.in has words", "2:text=c,label=C,tokens=[c],tags=[O]"}},
		{"not UTF-8", "a\n", "\xff\n", "O\n", []string{"!data: snips/label:1: byte 1 is 0xff, which is not UTF-8"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := fstest.MapFS{"seq.in": {Data: []byte(c.in)}, "label": {Data: []byte(c.label)}, "seq.out": {Data: []byte(c.out)}}
			if got := show(Files{FS: dir, Dir: "snips", Path: "."}); !slices.Equal(got, c.want) {
				t.Errorf("rows = %q, want %q", got, c.want)
			}
		})
	}
	alone := fstest.MapFS{"a.in": {Data: []byte("x\n")}}
	if got := show(Files{FS: alone, Path: "a.in"}); !slices.Equal(got, []string{"1:text=x"}) {
		t.Errorf("rows of a.in alone = %q, want its text", got)
	}
}

// FuzzTagged: whatever the text, a row has as many tags as words.
func FuzzTagged(f *testing.F) {
	f.Add("en:a\tO\n\nb\tB-x\n")
	f.Add("-DOCSTART- O\n\xff O\n")
	f.Fuzz(func(t *testing.T, text string) {
		for row, err := range one("x.conll", text).Rows() {
			if err != nil {
				continue
			}
			words, _ := row.Fields.Get("tokens")
			tags, _ := row.Fields.Get("tags")
			if len(words.([]any)) != len(tags.([]any)) || len(words.([]any)) == 0 {
				t.Errorf("row %v has %v words and %v tags", row.Place, words, tags)
			}
		}
	})
}

func TestBadSentencesAndArticles(t *testing.T) {
	for _, c := range []struct {
		name, file, content string
		want                []string
	}{
		{"a sentence without a tag", "x.conll", "a O\nb\nc O\n\nd O\n\ufeff\n", []string{"!data: x.conll:2: 1 columns in \"b\", want a word and its tag", "5:tokens=[d],tags=[O]"}},
		{"squad's articles", "x.json", `{"data":[{"title":"T","paragraphs":[{"context":"c","qas":[{"id":"1","question":"p"},{"id":"2","question":"q"}]}]},{"paragraphs":[]},{"paragraphs":[{"qas":1}]}]}`,
			[]string{"1:title=T,context=c,id=1,question=p", "2:title=T,context=c,id=2,question=q", "!data: x.json: row 3: a paragraph has no context with a list of qas, want SQuAD's form"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := show(one(c.file, c.content)); !slices.Equal(got, c.want) {
				t.Errorf("%q gives %q, want %q", c.content, got, c.want)
			}
		})
	}
}
