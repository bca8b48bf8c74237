package corpus

import (
	"encoding/json"
	"strings"
)

// Row is one example of the quickstart's task: facts about a place to eat, to be told as a sentence.
type Row struct {
	Prompt     string `json:"prompt"`
	Completion string `json:"completion"`
}

// JSON is the row as one line.
func (r Row) JSON() []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // two strings always marshal
	}
	return b
}

// fact is one attribute of a place with the ways to tell it; the first fact opens the sentence.
var attributes = []struct{ name, word, clause string }{
	{"kind", "kind", ""},
	{"food", "food", "serves {taste} {food}"},
	{"place", "place", "lies near the {place}"},
	{"price", "price", "has {price} prices"},
	{"guests", "guests", "welcomes {guests}"},
}

// TaskRow draws one example: the prompt lists facts, the completion tells all of them in a fixed manner that the
// corpus never uses, so that what fine-tuning taught is plain to see.
func (g *Generator) TaskRow() Row {
	s := g.scene()
	prompt := []string{s.fill("name = {inn}")}
	var clauses []string
	for _, a := range attributes {
		if a.name != "kind" && a.name != "food" && !g.chance(60) {
			continue
		}
		prompt = append(prompt, s.fill(a.name+" = {"+a.word+"}"))
		if a.name == "food" {
			prompt = append(prompt, s.fill("taste = {taste}"))
		}
		if a.clause != "" {
			clauses = append(clauses, s.fill(a.clause))
		}
	}
	article := "a"
	if strings.ContainsRune("aeiou", rune(s.lookup("kind")[0])) {
		article = "an"
	}
	sentence := s.fill("Welcome to the {inn}, " + article + " {kind} that ")
	if n := len(clauses); n > 1 {
		sentence += strings.Join(clauses[:n-1], ", ") + " and " + clauses[n-1] + "!"
	} else {
		sentence += clauses[0] + "!"
	}
	return Row{Prompt: strings.Join(prompt, "; ") + " =>", Completion: " " + sentence}
}

// Task draws n different rows, none of which is in without.
func (g *Generator) Task(n int, without map[Row]bool) []Row {
	rows := make([]Row, 0, n)
	seen := map[Row]bool{}
	for len(rows) < n {
		if r := g.TaskRow(); !seen[r] && !without[r] {
			seen[r] = true
			rows = append(rows, r)
		}
	}
	return rows
}
