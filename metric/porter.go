package metric

import "strings"

// References
//
//	[porter1980] M. F. Porter, An algorithm for suffix stripping

// Stem reduces a lower-case English word of ASCII letters to its stem [porter1980], with the extensions of NLTK's
// stemmer, which rouge-score uses. Stems are for comparing, not for reading: "happy" becomes "happi".
func Stem(word string) string {
	if len(word) <= 2 {
		return word
	}
	if stem, ok := irregular[word]; ok {
		return stem
	}
	word = stem1a(word)
	word = stem1b(word)
	word = stem1c(word)
	word = stem2(word)
	word = apply(word, step3)
	word = apply(word, step4)
	word = stem5a(word)
	return apply(word, step5b)
}

// irregular words have stems by hand.
var irregular = map[string]string{
	"sky": "sky", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news",
	"innings": "inning", "inning": "inning", "outings": "outing", "outing": "outing", "cannings": "canning",
	"canning": "canning", "howe": "howe", "proceed": "proceed", "exceed": "exceed", "succeed": "succeed",
}

// rule replaces a suffix where the condition holds of what stands before it. The first rule whose suffix matches
// decides, whether its condition holds or not.
type rule struct {
	suffix, replacement string
	when                func(stem string) bool
}

func apply(word string, rules []rule) string {
	for _, r := range rules {
		if stem, found := strings.CutSuffix(word, r.suffix); found {
			if r.when(stem) {
				return stem + r.replacement
			}
			return word
		}
	}
	return word
}

func always(string) bool        { return true }
func positive(stem string) bool { return measure(stem) > 0 }
func aboveOne(stem string) bool { return measure(stem) > 1 }
func afterST(stem string) bool {
	return aboveOne(stem) && strings.ContainsRune("st", rune(stem[len(stem)-1]))
}
func logiStem(stem string) bool { return positive(stem + "l") } // the l of "logi" belongs to the stem
func beforeLL(stem string) bool { return aboveOne(stem + "l") }

var (
	step1a = []rule{{"sses", "ss", always}, {"ies", "i", always}, {"ss", "ss", always}, {"s", "", always}}
	step2  = []rule{
		{"ational", "ate", positive}, {"tional", "tion", positive}, {"enci", "ence", positive}, {"anci", "ance", positive},
		{"izer", "ize", positive}, {"bli", "ble", positive}, {"alli", "al", positive}, {"entli", "ent", positive},
		{"eli", "e", positive}, {"ousli", "ous", positive}, {"ization", "ize", positive}, {"ation", "ate", positive},
		{"ator", "ate", positive}, {"alism", "al", positive}, {"iveness", "ive", positive}, {"fulness", "ful", positive},
		{"ousness", "ous", positive}, {"aliti", "al", positive}, {"iviti", "ive", positive}, {"biliti", "ble", positive},
		{"fulli", "ful", positive}, {"logi", "log", logiStem},
	}
	step3 = []rule{
		{"icate", "ic", positive}, {"ative", "", positive}, {"alize", "al", positive}, {"iciti", "ic", positive},
		{"ical", "ic", positive}, {"ful", "", positive}, {"ness", "", positive},
	}
	step4 = []rule{
		{"al", "", aboveOne}, {"ance", "", aboveOne}, {"ence", "", aboveOne}, {"er", "", aboveOne}, {"ic", "", aboveOne},
		{"able", "", aboveOne}, {"ible", "", aboveOne}, {"ant", "", aboveOne}, {"ement", "", aboveOne},
		{"ment", "", aboveOne}, {"ent", "", aboveOne}, {"ion", "", afterST}, {"ou", "", aboveOne}, {"ism", "", aboveOne},
		{"ate", "", aboveOne}, {"iti", "", aboveOne}, {"ous", "", aboveOne}, {"ive", "", aboveOne}, {"ize", "", aboveOne},
	}
	step5b = []rule{{"ll", "l", beforeLL}}
)

// stem1a removes plurals.
func stem1a(word string) string {
	if len(word) == 4 && strings.HasSuffix(word, "ies") {
		return word[:1] + "ie" // dies, ties
	}
	return apply(word, step1a)
}

// stem1b removes -ed and -ing, and mends what is left.
func stem1b(word string) string {
	if stem, found := strings.CutSuffix(word, "ied"); found {
		if len(word) == 4 {
			return stem + "ie"
		}
		return stem + "i"
	}
	if stem, found := strings.CutSuffix(word, "eed"); found {
		if positive(stem) {
			return stem + "ee"
		}
		return word
	}
	stem, found := strings.CutSuffix(word, "ed")
	if !found || !hasVowel(stem) {
		if stem, found = strings.CutSuffix(word, "ing"); !found || !hasVowel(stem) {
			return word
		}
	}
	return mend(stem)
}

// mend restores the end of a stem that lost -ed or -ing: conflat(ed) to conflate, hopp(ing) to hop, fil(ing) to file.
func mend(stem string) string {
	n := len(stem)
	switch {
	case strings.HasSuffix(stem, "at"), strings.HasSuffix(stem, "bl"), strings.HasSuffix(stem, "iz"):
		return stem + "e"
	case n >= 2 && stem[n-1] == stem[n-2] && consonant(stem, n-1):
		if strings.IndexByte("lsz", stem[n-1]) < 0 {
			return stem[:n-1]
		}
		return stem
	case measure(stem) == 1 && endsCVC(stem):
		return stem + "e"
	}
	return stem
}

// stem1c makes y after a consonant i.
func stem1c(word string) string {
	if n := len(word); n > 2 && word[n-1] == 'y' && consonant(word, n-2) {
		return word[:n-1] + "i"
	}
	return word
}

// stem2 reduces double suffixes; -alli is one more in front of others.
func stem2(word string) string {
	for {
		stem, found := strings.CutSuffix(word, "alli")
		if !found || !positive(stem) {
			return apply(word, step2)
		}
		word = stem + "al"
	}
}

// stem5a removes a final e. Both rules are tried.
func stem5a(word string) string {
	stem, found := strings.CutSuffix(word, "e")
	if m := measure(stem); found && (m > 1 || m == 1 && !endsCVC(stem)) {
		return stem
	}
	return word
}

// consonant tells whether letter i is one: y is one unless it follows one.
func consonant(word string, i int) bool {
	switch word[i] {
	case 'a', 'e', 'i', 'o', 'u':
		return false
	case 'y':
		first := i
		for first > 0 && word[first] == 'y' {
			first--
		}
		// letters in a run of y alternate
		return (strings.IndexByte("aeiou", word[first]) < 0) == ((i-first)%2 == 0)
	}
	return true
}

// measure is m in [C](VC)^m[V]: how often a consonant follows a vowel.
func measure(stem string) (m int) {
	before := true // a consonant
	for i := range len(stem) {
		now := follows(stem[i], i == 0 || !before)
		m += count(now && !before)
		before = now
	}
	return m
}

// follows tells whether a letter is a consonant, given whether a y would be.
func follows(c byte, y bool) bool { return strings.IndexByte("aeiou", c) < 0 && (c != 'y' || y) }

// hasVowel tells whether any letter is a vowel.
func hasVowel(stem string) bool {
	for i := range len(stem) {
		if !consonant(stem, i) {
			return true
		}
	}
	return false
}

// endsCVC is the condition *o: consonant, vowel, consonant but w, x, y; or, with NLTK, a word of vowel and consonant.
func endsCVC(word string) bool {
	n := len(word)
	if n == 2 {
		return !consonant(word, 0) && consonant(word, 1)
	}
	return n >= 3 && consonant(word, n-3) && !consonant(word, n-2) && consonant(word, n-1) &&
		strings.IndexByte("wxy", word[n-1]) < 0
}
