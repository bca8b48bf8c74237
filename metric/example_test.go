package metric_test

import (
	"fmt"

	"github.com/graft-ml/graft/metric"
)

func ExampleClassify() {
	c, err := metric.Classify([]int{0, 0, 1, 2, 2}, []int{0, 1, 1, 2, 0})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("accuracy %.2f, macro F1 %.3f, Matthews %.3f\n", c.Accuracy(), c.Averages().Macro.F1, c.Matthews())
	fmt.Println("confusion", c.Confusion)
	// Output:
	// accuracy 0.60, macro F1 0.611, Matthews 0.438
	// confusion [[1 1 0] [0 1 0] [1 0 1]]
}

func ExampleEvaluateTags() {
	actual := [][]string{{"B-PER", "I-PER", "O", "B-LOC"}}
	predicted := [][]string{{"B-PER", "I-PER", "O", "I-LOC"}} // read leniently, this I begins an entity
	strict, err := metric.SchemeNamed("IOB2")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, scheme := range []*metric.Scheme{nil, strict} {
		t, err := metric.EvaluateTags(actual, predicted, scheme)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%v: micro F1 %.3f\n", t.Types, t.Averages().Micro.F1)
	}
	// Output:
	// [LOC PER]: micro F1 1.000
	// [LOC PER]: micro F1 0.667
}

func ExampleEntities() {
	entities, err := metric.Entities([]string{"B-PER", "I-PER", "O", "B-LOC"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range entities {
		fmt.Printf("%s: words %d to %d\n", e.Type, e.Start, e.End-1)
	}
	// Output:
	// PER: words 0 to 1
	// LOC: words 3 to 3
}

func ExampleSQuAD1() {
	a, err := metric.SQuAD1([]metric.Question{
		{Prediction: "the Norman conquest", Golds: []string{"Norman conquest", "The Norman Conquest of England"}},
		{Prediction: "1066", Golds: []string{"in 1066"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("EM %.1f, F1 %.1f\n", a.Exact, a.F1)
	// Output: EM 50.0, F1 83.3
}

// The end-to-end generation challenge has several references per meaning, in text that is tokenised: one output per
// meaning is scored against all of them. Their number may differ.
func ExampleBLEU_Corpus() {
	outputs := []string{"the eagle is a cheap coffee shop .", "zizzi is a pub near burger king ."}
	references := [][]string{
		{"the eagle is a cheap coffee shop by the river .", "a cheap coffee shop is the eagle ."},
		{"zizzi is a pub near burger king ."},
	}
	b := metric.NewBLEU()
	b.Tokenize = "none"
	score, err := b.Corpus(outputs, references)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(score)
	fmt.Println(score.Signature)
	// Output:
	// BLEU = 93.56 100.0/92.9/91.7/90.0 (BP = 1.000 ratio = 1.000 hyp_len = 16 ref_len = 16)
	// nrefs:var|case:mixed|eff:no|tok:none|smooth:exp|version:2.6.0
}

func ExampleROUGE_Score() {
	r := metric.NewROUGE()
	r.UseStemmer = true
	scores, err := r.Score("The cats were sitting on the mat.", "A cat sits on the mat.")
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, s := range scores {
		fmt.Printf("%s %.3f\n", r.Types[i], s.F1)
	}
	// Output:
	// rouge1 0.769
	// rouge2 0.545
	// rougeL 0.769
	// rougeLsum 0.769
}

// Which of two systems is better, and is it luck?
func ExamplePaired() {
	references := [][]string{{"the cat sat on the mat"}, {"it is raining hard today"}, {"we walk to the park"}}
	baseline, err := metric.NewCHRF().Sample([]string{"a cat sat on a mat", "it rains today", "we go to a park"}, references)
	if err != nil {
		fmt.Println(err)
		return
	}
	system, err := metric.NewCHRF().Sample([]string{"the cat sat on a mat", "it is raining today", "we walk to a park"}, references)
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := metric.Paired(baseline, system, 1000, 42)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%.1f against %.1f; wins %.0f%% of resamples\n", c.System, c.Baseline, 100*c.Wins)
	// Output: 62.8 against 32.3; wins 100% of resamples
}

func ExampleKneserNey() {
	m, err := metric.NewKneserNey(3, 10)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, ids := range [][]int32{{1, 2, 3, 4}, {1, 2, 3, 5}, {6, 2, 3, 4}} {
		if err := m.Add(ids, nil); err != nil {
			fmt.Println(err)
			return
		}
	}
	m.Finish()
	loss, err := m.Loss([]int32{1, 2, 3, 4}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%.4f nats per target token, perplexity %.2f\n", loss.PerToken(), loss.Perplexity())
	// Output: 0.3827 nats per target token, perplexity 1.47
}
