// Package metric measures predictions against references, number for number as the libraries that papers report:
//
//	classes          scikit-learn     Classify, ClassifyMulti, ROCAUC, AveragePrecision, Calibrate
//	numbers          scikit-learn     Regress
//	entities         seqeval          Entities, Scheme, EvaluateTags
//	answers          SQuAD 1.1, 2.0   SQuAD1, SQuAD2
//	translations     sacrebleu 2.6.0  BLEU, CHRF, TER
//	summaries        rouge-score      ROUGE
//	language models                   Loss, NLL, KneserNey (the baseline to beat)
//	is it luck?                       Sample.Interval, Paired
//
// The words it uses:
//
//   - actual and predicted are what is true and what the model said, item by item; texts have hypothesis and references.
//   - A segment is one item of a corpus: a sentence, a question, a row. Several references of a segment are alternatives.
//   - Micro averages pool the counts of all classes, macro averages weigh classes equally, weighted averages weigh a
//     class by its support, the number of items that truly are of it.
//   - A quotient of nothing by nothing is 0 where the library says 0 and NaN where it says NaN or fails; each doc says.
//   - Scores of BLEU, chrF, TER and SQuAD run from 0 to 100 as published, all others from 0 to 1.
//
// Everything here is a pure function of its arguments, in float64, and safe for concurrent use. Chance enters through
// a seed only: the same seed gives the same intervals on every machine.
package metric

import "fmt"

// sameLength is an error unless both lists are of one length above 0.
func sameLength(what string, actual, predicted int) error {
	if actual != predicted {
		return fmt.Errorf("metric: %s: %d predicted, want %d as actual", what, predicted, actual)
	}
	if actual == 0 {
		return fmt.Errorf("metric: %s: nothing to score, want at least 1 item", what)
	}
	return nil
}

// mean is the average of v; NaN of none.
func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// ratio is a/b, and 0 where b is.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
