package report

// provenance is the section about what ran.
var provenance = Section{Name: "provenance", Title: "What ran", Make: func(in *Input) (any, []Block, error) {
	t := Table{Head: []string{"", ""}}
	facts := map[string]string{"eval_hash": in.Set.Fingerprint()}
	for _, f := range append(in.Facts[:len(in.Facts):len(in.Facts)], Fact{"held-out rows", "sha256 " + facts["eval_hash"]}) {
		t.Rows = append(t.Rows, []string{f.Name, f.Value})
	}
	return facts, []Block{t, Code{Title: "recipe.toml", Text: string(in.Recipe)}}, nil
}}
