"""Makes metric/testdata/more.json: random texts scored by the reference libraries.

sacrebleu 2.6.0, rouge-score 0.1.2 (nltk 3.10.4), seqeval 1.2.2, scikit-learn 1.9.1, scipy 1.17.1

    python more.py [SEED [CASES]] > ../more.json
"""
import json
import random
import sys
import warnings

from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.bleu import _get_tokenizer
from scipy import stats
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, IOE1, IOE2, Tokens
from sklearn import metrics as sk

warnings.filterwarnings("ignore")
rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
CASES = int(sys.argv[2]) if len(sys.argv) > 2 else 12

PLAIN = "the a cat dog runs ran running sat on mat house happily quickly relational 5 3.5 1,000 2020-21".split()
ODD = ["don't", "John's", "it's.", "&quot;", "&amp;lt;", "&lt;b&gt;", "<skipped>", "a-\nb", "\n-c", "x\ny", "--", "...", "?!", "¿qué?",
       "naïve", "ΣΑΣ", "İstanbul", "Straße", "“quoted”", "‘s", "…", "—", "天气", "今天,好", "カタカナ", "ひらがな。", "「引」", "ＡＢ！",
       "€5", "№3", "½", "²", "a\u00a0b", "x\x1cy", "\u200b", "👍🏽", "𠀀", "3-4", "a.b", ".5", "5.", "!x!", "(y)", "yyyy", "K", "㐀㏑㋿"]


def text(words, odd):
    return rng.choice(["", "", " "]) + " ".join(rng.choice(ODD if rng.random() < odd else PLAIN) for _ in range(words)) + rng.choice(["", ".", " .", "\n"])


def vary(s):
    words = s.split(" ")
    for _ in range(rng.randrange(4)):
        if len(words) > 2:
            i, j, n = rng.randrange(len(words)), rng.randrange(len(words)), rng.randrange(1, 4)
            op = rng.randrange(4)
            if op == 0:
                run = words[i:i + n]
                del words[i:i + n]
                words[j:j] = run
            elif op == 1:
                del words[i]
            elif op == 2:
                words.insert(i, rng.choice(PLAIN))
            else:
                words[i] = rng.choice(PLAIN)
    return " ".join(words)


def pick(**options):
    return {k: rng.choice(v) for k, v in options.items()}


def translation():
    odd = rng.choice([0, 0.3, 0.7])
    refs = [[text(rng.choice([0, 1, 3, 12, 30]), odd)] for _ in range(rng.randrange(1, 4))]
    for r in refs:
        r += [vary(r[0]) for _ in range(rng.randrange(3))]
    hyps = [vary(rng.choice(r)) if rng.random() < 0.9 else text(5, odd) for r in refs]
    most = max(map(len, refs))
    columns = [[r[i] if i < len(r) else None for r in refs] for i in range(most)]
    b = pick(lowercase=[False, True], tokenize=["13a", "none", "zh", "char", "intl"], smooth_method=["none", "floor", "add-k", "exp"],
             smooth_value=[None, 0.3], max_ngram_order=[4, 4, 2, 6], effective_order=[False, True])
    c = pick(char_order=[6, 0, 4], word_order=[0, 2, 3], beta=[2, 1, 3], lowercase=[False, True], whitespace=[False, True],
             eps_smoothing=[False, True])
    if c["char_order"] == 0:
        c["word_order"] = 2
    t = pick(normalized=[False, True], no_punct=[False, True], asian_support=[False, True], case_sensitive=[False, True])
    bleu = BLEU(**b)
    score = bleu.corpus_score(hyps, columns)
    return {"hypotheses": hyps, "references": refs,
            "bleu": {"arguments": b, "score": score.score, "precisions": score.precisions, "signature": str(bleu.get_signature())},
            "chrf": {"arguments": c, "score": CHRF(**c).corpus_score(hyps, columns).score},
            "ter": {"arguments": t, "score": TER(**t).corpus_score(hyps, columns).score},
            "tokenized": {"tokenize": b["tokenize"], "lines": [_get_tokenizer(b["tokenize"])()(h) for h in hyps]}}


def rouge():
    lines = lambda: "\n".join(text(rng.randrange(8), 0.1).strip() for _ in range(rng.randrange(4)))
    refs = [lines() for _ in range(rng.randrange(1, 3))]
    pred = "\n".join(vary(x) for x in rng.choice(refs).split("\n"))
    types, stem = ["rouge1", "rouge2", "rougeL", "rougeLsum"], rng.random() < 0.5
    s = RougeScorer(types, use_stemmer=stem).score_multi(refs, pred)
    return {"references": refs, "prediction": pred, "use_stemmer": stem, "scores": [list(map(float, s[k])) for k in types]}


def entities():
    prefixes = rng.choice(["IOB", "IOE", "IOBES", "IOBUL"])
    tag = lambda: (lambda p: p if p == "O" else p + "-" + rng.choice(["X", "Y-Z"]) if rng.random() < 0.95 else p)(rng.choice(prefixes))
    tags = [tag() for _ in range(rng.randrange(12))]
    strict = {}
    for s in (IOB1, IOB2, IOE1, IOE2, IOBES, BILOU):
        try:
            strict[s.__name__] = [[e.tag, e.start, e.end] for e in Tokens(tags, s).entities]
        except ValueError:
            strict[s.__name__] = None
    return {"tags": tags, "default": [[k, a, b + 1] for k, a, b in get_entities(tags)], "strict": strict}


def classes():
    n = rng.randrange(2, 30)
    true, pred = ([rng.randrange(rng.choice([2, 5])) for _ in range(n)] for _ in range(2))
    score = [round(rng.random(), 1) for _ in range(n)]
    numbers = [[round(rng.gauss(0, 1), rng.choice([0, 1, 6])) for _ in range(n)] for _ in range(2)]
    numbers[0][0] += 0.5
    binary = [int(x == true[0]) for x in true]
    binary[-1], binary[0] = 0, 1
    return {"true": true, "pred": pred, "matthews": sk.matthews_corrcoef(true, pred), "kappa": sk.cohen_kappa_score(true, pred),
            "weighted": list(sk.precision_recall_fscore_support(true, pred, average="weighted", zero_division=0)[:3]),
            "binary": binary, "score": score, "auc": sk.roc_auc_score(binary, score), "ap": sk.average_precision_score(binary, score),
            "actual": numbers[0], "predicted": numbers[1], "r2": sk.r2_score(*numbers),
            "pearson": stats.pearsonr(*numbers)[0], "spearman": stats.spearmanr(*numbers)[0]}


SUFFIXES = ("s es ies sses ied eed ed ing y ational tional enci anci izer bli alli entli eli ousli ization ation ator alism iveness fulness "
            "ousness aliti iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent ion "
            "ou ism ate iti ous ive ize e ll").split()


def stems():
    words = ["sky", "skies", "dying", "news", "innings", "proceed", "falling", "hopping", "filing", "fizzed", "conflated", "feed", "agreed"]
    for _ in range(10 * CASES):
        stem = "".join(rng.choice("aeioubcdlsttyz") for _ in range(rng.randrange(1, 5)))
        words.append(stem + rng.choice(SUFFIXES) + rng.choice(["", rng.choice(SUFFIXES)]))
    return {w: PorterStemmer().stem(w) for w in words}


json.dump({"note": "made by gen/more.py", "translation": [translation() for _ in range(3 * CASES)], "rouge": [rouge() for _ in range(CASES)],
           "entities": [entities() for _ in range(2 * CASES)], "classes": [classes() for _ in range(CASES)], "stems": stems()},
          sys.stdout, ensure_ascii=True, separators=(",", ":"))
