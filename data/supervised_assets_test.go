package data_test

import (
	"archive/zip"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/data/source"
	"github.com/graft-ml/graft/internal/golden"
)

const miniLM = "models/all-minilm-l6-v2"

// buildAssets encodes a data set of the assets for MiniLM.
func buildAssets(t *testing.T, files source.Files, s data.Settings) (data.Set, *data.Report) {
	t.Helper()
	if files.FS == nil {
		files.FS = os.DirFS(filepath.Join(golden.Assets(t), "datasets"))
	}
	set, report, err := data.Build(context.Background(), files.Rows(), openTokenizer(t, miniLM), nil, s)
	if err != nil {
		t.Fatal(err)
	}
	return set, report
}

func TestSnips(t *testing.T) {
	set, report := buildAssets(t, source.Files{Path: "snips/train", MaxRows: 2000}, data.Settings{Task: "seq-cls", SequenceLen: 64})
	want := []string{"AddToPlaylist", "BookRestaurant", "GetWeather", "PlayMusic", "RateBook", "SearchCreativeWork", "SearchScreeningEvent"}
	if len(set) != 2000 || !slices.Equal(report.Labels, want) || report.Truncated != 0 {
		t.Errorf("%d examples, %d cut, labels %q, want 2000, 0, %q", len(set), report.Truncated, report.Labels, want)
	}
	if n := set.Stats().Tokens; n != 48046/2 { // the baseline in PEFT saw 48,046 tokens in two epochs
		t.Errorf("%d tokens, want %d", n, 48046/2)
	}
	// [CLS] listen to … [SEP], PlayMusic
	if x := set[0]; x.IDs[0] != 101 || x.IDs[len(x.IDs)-1] != 102 || !slices.Equal(x.Labels, []float32{3}) || x.Types != nil {
		t.Errorf("first example = %+v, want [CLS] … [SEP] with label 3", x)
	}
	slots, report := buildAssets(t, source.Files{Path: "snips/test"}, data.Settings{Task: "token-cls"})
	if len(slots) != 700 || report.Labels[0] != "O" || !slices.Contains(report.Labels, "B-artist") {
		t.Errorf("%d sentences with tags %q, want 700 with O first", len(slots), report.Labels)
	}
}

func TestWikiANN(t *testing.T) {
	set, report := buildAssets(t, source.Files{Path: "wikiann-en/train", MaxRows: 2000}, data.Settings{Task: "token-cls", SequenceLen: 128, KeepOrigin: true})
	if want := []string{"O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"}; len(set) != 2000 || !slices.Equal(report.Labels, want) {
		t.Errorf("%d sentences, labels %q, want 2000, %q", len(set), report.Labels, want)
	}
	if n := set.Stats().Tokens; n != 52120/2 { // the baseline in PEFT saw 52,120 tokens in two epochs
		t.Errorf("%d tokens, want %d", n, 52120/2)
	}
	for i := range set {
		x, last := &set[i], int32(-1)
		if strings.HasPrefix(x.Origin.Words[0], "en:") {
			t.Fatalf("%s: word %q has its language", x.Place, x.Origin.Words[0])
		}
		for k, w := range x.Origin.Word {
			switch first := w >= 0 && w != last; {
			case first && report.Labels[x.Tags[k]] != x.Origin.Tags[w]:
				t.Fatalf("%s: token %d has tag %d, want %s", x.Place, k, x.Tags[k], x.Origin.Tags[w])
			case !first && x.Tags[k] != data.NoTarget:
				t.Fatalf("%s: token %d has tag %d, want none", x.Place, k, x.Tags[k])
			}
			last = w
		}
	}
}

func TestWNUT(t *testing.T) {
	for file, sentences := range map[string]int{"wnut17train.conll": 3394, "emerging.dev.conll": 1009, "emerging.test.annotated": 1287} {
		rows := 0
		for _, err := range (source.Files{FS: os.DirFS(filepath.Join(golden.Assets(t), "datasets")), Path: "wnut17/" + file}).Rows() {
			if err != nil {
				t.Fatal(err)
			}
			rows++
		}
		if rows != sentences {
			t.Errorf("%s has %d sentences, want %d", file, rows, sentences)
		}
	}
}

func TestXQuAD(t *testing.T) {
	for _, file := range []string{"xquad.en.json", "xquad.zh.json"} {
		set, report := buildAssets(t, source.Files{Path: "xquad/" + file}, data.Settings{Task: "question-answering", SequenceLen: 256, Overlong: "truncate", KeepOrigin: true})
		if len(set) != 1190 || report.Rows != 1190 {
			t.Errorf("%s: %d examples of %d rows, want 1190", file, len(set), report.Rows)
		}
		exact, found := 0, 0
		for i := range set {
			x := &set[i]
			if *x.Answer == [2]int32{} {
				continue
			}
			found++
			start, end := x.Origin.Offsets[x.Answer[0]][0], x.Origin.Offsets[x.Answer[1]][1]
			got := x.Origin.Text[start:end]
			if !strings.Contains(got, x.Origin.Golds[0]) {
				t.Fatalf("%s: tokens of %q, want %q within", x.Place, got, x.Origin.Golds[0])
			}
			if got == x.Origin.Golds[0] {
				exact++
			}
		}
		if found < 1100 || exact < found*95/100 {
			t.Errorf("%s: %d answers, %d of them exactly, want nearly all", file, found, exact)
		}
		train, report := buildAssets(t, source.Files{Path: "xquad/" + file}, data.Settings{Task: "question-answering", SequenceLen: 128, Stride: 64})
		for i := range train {
			if len(train[i].IDs) > 128 || train[i].Answer[0] == 0 {
				t.Fatalf("%s: a window of %d tokens with answer %v", file, len(train[i].IDs), *train[i].Answer)
			}
		}
		if report.Used < 1185 {
			t.Errorf("%s: %d questions have their answer in a window, want nearly all", file, report.Used)
		}
	}
}

func TestChnSentiCorp(t *testing.T) {
	z, err := zip.OpenReader(filepath.Join(golden.Assets(t), "datasets/chnsenticorp/chnsenticorp.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for file, rows := range map[string]int{"dev.tsv": 1200, "test.tsv": 1200, "train.tsv": 9600} {
		if testing.Short() && rows > 2000 {
			continue
		}
		set, report := buildAssets(t, source.Files{FS: fs.FS(z), Path: file}, data.Settings{Task: "seq-cls", SequenceLen: 64})
		if len(set) != rows || !slices.Equal(report.Labels, []string{"0", "1"}) || report.Detected != `shape classification (text = "text_a", label)` {
			t.Errorf("%s: %d examples, labels %q, %s", file, len(set), report.Labels, report.Detected)
		}
	}
}
