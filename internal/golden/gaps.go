package golden

// Gaps is the one table of golden cases that graft does not support yet. It shrinks: an entry is removed with the
// change that makes its cases pass.
var Gaps = []Gap{
	{Suite: "checkpoints", Facts: Facts{"storage": "torch"}, Reason: "torch pickle files are not read yet"},
	{Suite: "train", Facts: Facts{"formula": "label_smoothing"}, Reason: "the cross-entropy operator has no label smoothing yet"},
	{Suite: "train", Facts: Facts{"formula": "neftune"}, Reason: "the embedding operator adds no noise yet"},
}
