// Package recipes is the TOML schema of a run: what a recipe may say, what it means, and what is wrong with it.
//
//	r, err := recipes.Load("my.toml", src, []string{"train.seed=2"})
//
// A field of the structs below is a key: its tags hold the name in the file, the default, the range or the choices, the
// names that other tools have for it, an example and the meaning. Decoding, errors, graft explain, docs/recipe.md and the JSON
// schema are all made from these tags.
//
// Decoding is strict: a key that is unknown, misspelt, of another type, out of range or contradicted by another is an
// error with file, line, column and a suggestion, and all errors of a file come at once.
package recipes

// Recipe is a run.
type Recipe struct {
	Model    Model    `toml:"model" doc:"the base that stays frozen"`
	Method   Method   `toml:"method" doc:"what is trained"`
	Data     Data     `toml:"data" doc:"what it is trained on"`
	Train    Train    `toml:"train" doc:"how it is trained"`
	Eval     Eval     `toml:"eval" doc:"how well it does"`
	Generate Generate `toml:"generate" doc:"how texts are continued"`
	Output   Output   `toml:"output" doc:"where the results go"`

	given map[string]bool // keys that the file or --set names
}

// Model is the frozen base.
type Model struct {
	Path         string `toml:"path" doc:"folder with config.json, weights and tokenizer.json; \"builtin:quickstart\" is the base inside the program" example:"models/llama" syn:"base_model model_name_or_path model_name base model_id pretrained_model_name_or_path checkpoint"`
	Task         string `toml:"task" default:"auto" choice:"auto causal-lm seq2seq-lm seq-cls token-cls question-answering masked-lm" doc:"what the model is for, which decides its head: causal-lm continues texts; seq2seq-lm tells a text of a source, as translators do; seq-cls labels whole texts or pairs; token-cls labels words; question-answering finds answers in a context; masked-lm fills in hidden tokens. auto goes by data.shape, by the adapter to start from, by architectures in config.json, and for an encoder by the first row" syn:"task_type task_name auto_class architecture"`
	Compute      string `toml:"compute" default:"auto" choice:"auto f32 bf16 split" doc:"arithmetic of the products with frozen weights: f32; bf16 (fastest); split (float32 grade at tile speed); auto = split where the machine has tiles, else f32" syn:"dtype torch_dtype precision bf16 fp16 mixed_precision"`
	Quantize     string `toml:"quantize" default:"none" choice:"none int8 nf4 lossless" doc:"how the frozen projections are kept in memory, all but the head: none = as the file has them; int8 = 8 bits and a scale for each row; nf4 = 4 bits with scales in 8 (QLoRA's NF4 with double quantisation); lossless = weights stored in bf16 in 12 bits, the same numbers, which is for writing text: a quarter less to read from memory. What is trained, and merging, are as without" syn:"load_in_4bit load_in_8bit quantization quantization_bit bits bnb_4bit_quant_type quant_type"`
	Tokenizer    string `toml:"tokenizer" doc:"folder of another tokenizer than the model's own" example:"tokenizers/mine" syn:"tokenizer_name_or_path tokenizer_path"`
	ChatTemplate string `toml:"chat_template" doc:"file with a Jinja template instead of the tokenizer's own" example:"chatml.jinja" syn:"chat_template_path"`
	Init         string `toml:"init" default:"pretrained" choice:"pretrained random" doc:"random starts from random weights by config.json alone, for pretraining with method \"full\""`
	Seed         uint64 `toml:"seed" default:"0" doc:"seed of random weights"`
}

// Method is what is trained.
type Method struct {
	Type              string   `toml:"type" default:"lora" choice:"lora adalora vera loha lokr miss hira delora gralora randlora vblora shira c3a fourierft waveft tinylora peanut deft glora frod unilora ia3 oft boft hra road beft ln_tuning trainable_tokens prefix_tuning prompt_tuning p_tuning adaption_prompt freeze bitfit adapters houlsby pfeiffer parallel compacter compacter++ full" doc:"lora: low-rank branches beside frozen projections; adalora … glora: other changes of their weights; ia3, oft, boft, hra, road, beft: scaled, rotated or shifted activations; ln_tuning: the norms; trainable_tokens: single embeddings; prefix_tuning: trained keys and values before every text; prompt_tuning, p_tuning: trained embeddings there; adaption_prompt: trained rows that the top layers look at; freeze: the last layers; bitfit: the biases; houlsby, pfeiffer, parallel, compacter, compacter++: small networks at the ends of the layers' branches, in files of the library adapters; adapters: any of its methods by its config string; full: every weight. Keys that are not set have PEFT's default of the method" syn:"peft_type adapter finetuning_type method peft_method"`
	Rank              int      `toml:"r" for:"lora adalora=init_r vera loha lokr miss hira delora gralora randlora vblora shira tinylora peanut deft glora unilora oft hra" default:"16" min:"1" doc:"rank of A and B" syn:"lora_r rank lora_rank lora_dim"`
	Alpha             float64  `toml:"lora_alpha" for:"lora adalora loha=alpha lokr=alpha gralora=alpha randlora=randlora_alpha deft=alpha" default:"32" doc:"the branch is scaled by lora_alpha / r" syn:"alpha"`
	Dropout           float64  `toml:"lora_dropout" for:"lora adalora vera=vera_dropout miss=miss_dropout hira=hira_dropout gralora=gralora_dropout randlora=randlora_dropout vblora=vblora_dropout tinylora=tinylora_dropout deft=deft_dropout frod=frod_dropout unilora=unilora_dropout adapters=dropout houlsby=dropout pfeiffer=dropout parallel=dropout compacter=dropout compacter++=dropout" default:"0" min:"0" below:"1" doc:"share of the branch's inputs that are set to zero in training" syn:"dropout"`
	UseRSLoRA         bool     `toml:"use_rslora" for:"lora" default:"false" doc:"scale by lora_alpha / √r instead" syn:"rslora peft_use_rslora"`
	TargetModules     Names    `toml:"target_modules" for:"* -trainable_tokens -prefix_tuning -prompt_tuning -p_tuning -adaption_prompt -freeze -bitfit -adapters -houlsby -pfeiffer -parallel -compacter -compacter++" default:"\"all-linear\"" doc:"names or ends of names of the projections to adapt; one string is a pattern that must match the whole name; \"all-linear\" = all but the head" example:"[\"q_proj\", \"v_proj\"]" syn:"lora_target_modules lora_target target_module lora_target_linear"`
	TargetParameters  []string `toml:"target_parameters" for:"lora" doc:"weights of experts that transformers keeps as one, by the end of their name; with these alone, target_modules is []" example:"[\"mlp.experts.gate_up_proj\"]"`
	ExcludeModules    Names    `toml:"exclude_modules" for:"* -vera -gralora -randlora -shira -road -c3a -tinylora -glora -frod -unilora -beft -trainable_tokens -prefix_tuning -prompt_tuning -p_tuning -adaption_prompt -freeze -bitfit -adapters -houlsby -pfeiffer -parallel -compacter -compacter++" doc:"names, ends or a pattern of projections to leave alone" example:"[\"down_proj\"]"`
	LayersToTransform []int    `toml:"layers_to_transform" for:"* -ia3 -shira -road -glora -beft -ln_tuning -trainable_tokens -prefix_tuning -prompt_tuning -p_tuning -adaption_prompt -freeze -bitfit -adapters -houlsby -pfeiffer -parallel -compacter -compacter++" doc:"only these layers, counted from 0" example:"[0, 1, 2]" syn:"peft_layers_to_transform"`
	LayersPattern     []string `toml:"layers_pattern" for:"* -ia3 -shira -road -glora -beft -ln_tuning -trainable_tokens -prefix_tuning -prompt_tuning -p_tuning -adaption_prompt -freeze -bitfit -adapters -houlsby -pfeiffer -parallel -compacter -compacter++" doc:"name of the list of layers, where the model has several" example:"[\"layers\"]" syn:"peft_layers_pattern"`
	RankPattern       Pattern  `toml:"rank_pattern" for:"lora loha lokr hira delora" doc:"other ranks for some modules; keys are patterns, the first that matches counts" example:"{ \"down_proj\" = 4 }" syn:"lora_rank_pattern"`
	AlphaPattern      Pattern  `toml:"alpha_pattern" for:"lora loha lokr" doc:"other alphas for some modules" example:"{ \"down_proj\" = 8 }" syn:"lora_alpha_pattern"`
	InitWeights       string   `toml:"init_lora_weights" for:"lora" default:"true" choice:"true gaussian false orthogonal pissa pissa_niter_N olora eva corda loftq" doc:"how A and B start: true = U(±1/√in) and 0; gaussian = N(0, 1/r) and 0; false = both random; orthogonal = random with B·A = 0; pissa = the largest singular directions of the weight, which the base loses; pissa_niter_N = the same, fast, by N iterations; olora = its QR; eva = the directions in which the inputs of the data vary most, with ranks where they explain most; corda = the directions of the weight that they use most, which the base loses; what the base loses is stored as plain LoRA of it; loftq = what a quantisation to 4 bits loses, over a base of 4 bits" syn:"peft_init_lora_weights init_weights pissa_init pissa_iter"`
	UseDoRA           bool     `toml:"use_dora" for:"lora" default:"false" doc:"learn the length of every output's weights beside their direction (DoRA)" syn:"dora peft_use_dora lora_use_dora use_weight_decomposition"`
	LoraBias          bool     `toml:"lora_bias" for:"lora" default:"false" doc:"B has a bias; it folds only into layers that have one" syn:"b_bias"`
	Bias              string   `toml:"bias" for:"lora" default:"none" choice:"none all lora_only" doc:"biases of the base that are trained, too: all, or those of the adapted modules" syn:"train_bias lora_train_bias"`
	ModulesToSave     []string `toml:"modules_to_save" for:"* -trainable_tokens -adaption_prompt -adapters -houlsby -pfeiffer -parallel -compacter -compacter++" doc:"ends of names of modules of which full copies are trained and stored" example:"[\"embed_tokens\", \"lm_head\"]" syn:"lora_modules_to_save additional_target trainable_modules"`
	TokenIndices      Indices  `toml:"trainable_token_indices" for:"lora" doc:"ids of tokens whose embeddings are trained and stored; a table names modules" example:"[32000, 32001]" syn:"trainable_tokens fix_untrained_tokens new_tokens"`
	EnsureWeightTying bool     `toml:"ensure_weight_tying" for:"lora" default:"false" doc:"what is done to the embedding is done to a head that shares its weight" syn:"tie_weights"`
	Trainable         string   `toml:"trainable" for:"full" doc:"regular expression: only weights in whose names it is found are trained, such as the head's, or all biases; empty = all" example:"^classifier\\." syn:"trainable_parameters unfrozen_parameters unfreeze"`
	Adapter           string   `toml:"adapter" for:"*" doc:"folder of an adapter to start from; r, alpha and targets are its own" example:"runs/first/adapter" syn:"lora_model_dir adapter_name_or_path resume_adapter_file"`
	InitValues        string   `toml:"init_values" doc:"safetensors file with the initial value of every trainable parameter, for comparisons" example:"init.safetensors"`
	Options
	Virtual
	Bottleneck
}

// Data is what the model is trained on.
type Data struct {
	Path          string   `toml:"path" doc:"file, folder or pattern: .jsonl .json .csv .tsv .parquet .conll .txt, also .gz and .zst, and in .zip archives; or a folder with seq.in, label, seq.out; \"builtin:quickstart\" is the data inside the program" example:"train.jsonl" syn:"dataset train_file data_path dataset_path train_data train_path file"`
	Sources       []Source `toml:"sources" doc:"several sources with weights, instead of path" syn:"datasets"`
	Shape         string   `toml:"shape" default:"auto" choice:"auto text prompt_completion instruction chat context_target tools classification tokens qa seq2seq masked_text" doc:"what a row looks like; auto goes by its fields" syn:"format type dataset_type formatting"`
	Columns       Strings  `toml:"columns" doc:"other names of the fields" example:"{ prompt = \"question\", completion = \"answer\" }" syn:"column_mapping field_mapping"`
	EvalPath      string   `toml:"eval_path" doc:"held-out data of the same shape" example:"valid.jsonl" syn:"eval_dataset validation_file valid_path test_datasets eval_file"`
	EvalFraction  float64  `toml:"eval_fraction" default:"0" min:"0" below:"1" doc:"share of the rows that is held out instead" syn:"val_set_size val_size test_size validation_split"`
	EvalEvery     int      `toml:"eval_every" default:"0" min:"0" doc:"hold out each so many-th row instead, or paragraph of SQuAD's files; 0 = off"`
	EvalMaxRows   int      `toml:"eval_max_rows" default:"0" min:"0" doc:"use only the first so many held-out rows; 0 = all" syn:"eval_max_samples max_eval_samples"`
	Unit          string   `toml:"unit" default:"line" choice:"line paragraph file" doc:"what is a row of a plain text file; paragraphs end at blank lines"`
	Template      string   `toml:"template" choice:"alpaca plain chat" doc:"wording of instructions; empty = chat if the model has a chat template, else alpaca"`
	Separator     string   `toml:"separator" doc:"put between prompt and completion"`
	SkipRows      int      `toml:"skip_rows" default:"0" min:"0" doc:"leave out so many rows at the beginning of the training data" syn:"skip_samples offset"`
	MaxRows       int      `toml:"max_rows" default:"0" min:"0" doc:"use only the first so many rows; 0 = all" syn:"max_samples max_train_samples"`
	Labels        []string `toml:"labels" doc:"names of all labels in the order of their numbers; empty = those of the rows, sorted" example:"[\"negative\", \"positive\"]" syn:"label_names label_list class_names id2label"`
	ProblemType   string   `toml:"problem_type" default:"auto" choice:"auto single_label_classification multi_label_classification regression" doc:"what the labels of shape classification are; auto goes by the first row"`
	Stride        int      `toml:"stride" default:"0" min:"0" doc:"shape qa: tokens of the context that a window shares with the one before" syn:"doc_stride"`
	SourcePrefix  string   `toml:"source_prefix" doc:"shape seq2seq: put before every source, as T5 was trained" example:"translate English to German: " syn:"prefix task_prefix"`
	TargetLen     int      `toml:"target_len" min:"0" doc:"shape seq2seq: longest target in tokens; 0 = sequence_len" syn:"max_target_length max_target_len target_length val_max_target_length generation_max_length"`
	MaskShare     float64  `toml:"mlm_probability" default:"0.15" above:"0" max:"1" doc:"task masked-lm: share of the tokens that are hidden, other ones in each epoch" syn:"mask_probability masked_lm_prob mask_prob"`
	WholeWord     bool     `toml:"whole_word_mask" default:"false" doc:"task masked-lm: hide all tokens of a word or none" syn:"wwm mlm_whole_word"`
	SequenceLen   int      `toml:"sequence_len" default:"0" min:"0" doc:"longest row in tokens; 0 = what the model was made for" syn:"cutoff_len max_seq_length max_length seq_len max_seq_len sequence_length block_size model_max_length"`
	Overlong      string   `toml:"overlong" default:"auto" choice:"auto drop truncate raise split" doc:"what becomes of longer rows; auto = texts and contexts of questions are split into windows, rows of shape classification, tokens and seq2seq truncated, others dropped" syn:"excess_length_strategy truncation"`
	TrainOnPrompt bool     `toml:"train_on_prompt" default:"false" doc:"the prompt's tokens count in the loss, too" syn:"train_on_inputs train_on_input completion_only_loss"`
	Concatenate   bool     `toml:"concatenate" default:"false" doc:"shapes text and masked_text: join documents with eos and cut the stream into sequences of sequence_len"`
	System        string   `toml:"system" doc:"system message for chats that have none" syn:"system_prompt default_system"`
	Order         string   `toml:"order" default:"shuffled" choice:"shuffled sequential sha256" doc:"order of an epoch: shuffled by seed; as in the file; sha256 = by the hash of \"seed:epoch:index\"" syn:"shuffle sampler"`
	Seed          uint64   `toml:"seed" default:"0" doc:"seed of order, split and mixture" syn:"data_seed shuffle_seed"`
	BatchTokens   int      `toml:"batch_tokens" default:"0" min:"0" doc:"rows per step by tokens instead of train.batch_size; 0 = off" syn:"packing sample_packing pack_sequences max_tokens_per_batch tokens_per_batch"`
	Workers       int      `toml:"workers" default:"0" min:"0" doc:"goroutines that tokenise; 0 = one per core" syn:"num_workers dataset_num_proc preprocessing_num_workers dataloader_num_workers"`
}

// Source is one of several data sources.
type Source struct {
	Path   string  `toml:"path" doc:"file, folder or pattern" syn:"dataset file"`
	Weight float64 `toml:"weight" default:"1" above:"0" doc:"times that each of its rows is visited in an epoch: 1 once, 2 twice, 0.5 every second one" syn:"probability ratio interleave_probs"`
	Shape  string  `toml:"shape" default:"auto" choice:"auto text prompt_completion instruction chat context_target tools classification tokens qa seq2seq masked_text" doc:"what a row looks like" syn:"type format"`
}

// Train is how the model is trained.
type Train struct {
	BatchSize        int     `toml:"batch_size" default:"8" min:"1" doc:"rows of one update (times gradient_accumulation_steps)" syn:"micro_batch_size per_device_train_batch_size train_batch_size batch"`
	Accumulation     int     `toml:"gradient_accumulation_steps" default:"1" min:"1" doc:"batches of one update" syn:"grad_accumulation_steps grad_accum_steps accumulate_grad_batches"`
	MicroTokens      int     `toml:"micro_tokens" default:"0" min:"0" doc:"most tokens in one forward pass; a batch above is cut into several passes with the same result; 0 = what keeps activations below 1.2 GB, 512 to 4096" syn:"max_tokens_per_forward"`
	Memory           string  `toml:"memory" default:"auto" doc:"what training may take beside the mapped base, such as \"4GB\": decides micro_tokens and gradient_checkpointing where these are left open; auto = activations of 1.2 GB, or less where the machine has less" example:"4GB" syn:"max_memory memory_limit"`
	Checkpointing    string  `toml:"gradient_checkpointing" default:"auto" choice:"auto true false" doc:"keep of each layer its result alone and compute the rest again in the backward pass, but for the results of attention where memory allows: less memory for one more forward pass; auto = where memory would not suffice otherwise" syn:"activation_checkpointing use_gradient_checkpointing enable_activation_checkpointing grad_checkpoint recompute"`
	SharePrefixes    bool    `toml:"share_prefixes" default:"true" doc:"compute once what texts of a pass begin with, such as a system prompt or the words of a template, where no target, dropout or noise lies in it; gradients are the same but for the order of sums"`
	Epochs           float64 `toml:"epochs" default:"1" above:"0" doc:"times to go through the rows" syn:"num_epochs num_train_epochs max_epochs epoch"`
	MaxSteps         int     `toml:"max_steps" default:"0" min:"0" doc:"number of updates instead of epochs; 0 = by epochs" syn:"steps num_steps iters max_iters total_steps"`
	Optimizer        string  `toml:"optimizer" default:"adamw" choice:"adamw adam sgd adafactor lion rmsprop adagrad lora_fa" doc:"rule of the updates" syn:"optim optimizer_name adamw_torch"`
	OptimizerArgs    Table   `toml:"optimizer_args" doc:"arguments of the optimizer" example:"{ betas = [0.9, 0.95], eps = 1e-8 }" syn:"optim_args optimizer_kwargs betas adam_beta1 adam_beta2 adam_epsilon"`
	LearningRate     float64 `toml:"learning_rate" default:"0.0002" min:"0" doc:"largest rate of the schedule" syn:"lr"`
	WeightDecay      float64 `toml:"weight_decay" default:"0" min:"0" doc:"decay of matrices per update, times the rate" syn:"wd decay"`
	LoraPlusRatio    float64 `toml:"loraplus_lr_ratio" default:"0" min:"0" doc:"rate of B over that of A (LoRA+); 0 = the same" syn:"loraplus_ratio lora_plus_ratio"`
	Scheduler        string  `toml:"lr_scheduler" default:"linear" choice:"@schedules" doc:"course of the rate after the warm-up" syn:"lr_scheduler_type scheduler schedule"`
	SchedulerArgs    Table   `toml:"lr_scheduler_kwargs" doc:"arguments of the schedule" example:"{ num_cycles = 2 }" syn:"scheduler_args lr_scheduler_args"`
	WarmupSteps      int     `toml:"warmup_steps" default:"0" min:"0" doc:"updates in which the rate rises" syn:"num_warmup_steps warmup"`
	WarmupRatio      float64 `toml:"warmup_ratio" default:"0" min:"0" max:"1" doc:"the same as a share of all updates, rounded up as Hugging Face does" syn:"warmup_fraction warmup_proportion"`
	WarmupRounding   string  `toml:"warmup_rounding" default:"up" choice:"up nearest" doc:"how warmup_ratio becomes a number of updates"`
	MaxGradNorm      float64 `toml:"max_grad_norm" default:"1" min:"0" doc:"longer gradients are scaled down to this norm; 0 = off" syn:"clip_grad_norm gradient_clipping grad_clip max_norm clip"`
	LabelSmoothing   float64 `toml:"label_smoothing" default:"0" min:"0" below:"1" doc:"share of the target's probability that is spread over all tokens" syn:"label_smoothing_factor"`
	ClassWeights     Pattern `toml:"class_weights" doc:"weights of labels in the training loss of seq-cls and token-cls; those that are not named weigh 1" example:"{ neg = 1, pos = 3 }" syn:"loss_weights label_weights pos_weight"`
	BalanceClasses   bool    `toml:"balance_classes" default:"false" doc:"weigh each label of seq-cls and token-cls by how rare it is, so that all count alike: rows / (labels × rows with it)" syn:"balanced class_weight"`
	NEFTuneAlpha     float64 `toml:"neftune_alpha" default:"0" min:"0" doc:"noise on the embeddings in training; 0 = off" syn:"neftune_noise_alpha"`
	Seed             uint64  `toml:"seed" default:"0" doc:"seed of initial values and dropout" syn:"random_seed"`
	LoggingSteps     int     `toml:"logging_steps" default:"1" min:"1" doc:"a line in metrics.jsonl every so many updates" syn:"log_every log_steps log_every_n_steps steps_per_report"`
	SaveSteps        int     `toml:"save_steps" default:"0" min:"0" doc:"a checkpoint every so many updates; 0 = ten in a run" syn:"save_every save_interval checkpoint_every"`
	SaveTotalLimit   int     `toml:"save_total_limit" default:"2" min:"0" doc:"keep the newest so many checkpoints, and the best; 0 = all" syn:"keep_checkpoints max_checkpoints"`
	EarlyStopping    int     `toml:"early_stopping_patience" default:"0" min:"0" doc:"stop after so many evaluations without improvement; 0 = never" syn:"early_stopping_steps patience"`
	WatchdogLoss     float64 `toml:"loss_watchdog_threshold" default:"0" min:"0" doc:"stop with an error when the loss stays above; 0 = off"`
	WatchdogPatience int     `toml:"loss_watchdog_patience" default:"3" min:"1" doc:"for so many updates"`
}

// Eval is how well the model does.
type Eval struct {
	Steps    int      `toml:"steps" default:"0" min:"0" doc:"evaluate every so many updates; 0 = at the end" syn:"eval_steps evaluation_steps eval_every"`
	OnStart  bool     `toml:"on_start" default:"true" doc:"evaluate before the first update, too" syn:"eval_on_start"`
	LoadBest bool     `toml:"load_best" default:"false" doc:"end with the parameters of the best evaluation" syn:"load_best_model_at_end"`
	Generate int      `toml:"generate" default:"0" min:"0" doc:"have texts written for so many held-out rows after training and score them against what was wanted (BLEU, chrF, ROUGE-L), with the base beside; where model.task is seq2seq-lm and the key is not set, 100" syn:"predict_with_generate eval_generate"`
	Samples  int      `toml:"samples" default:"0" min:"0" doc:"continue the prompts of so many held-out rows, or tell their sources, before and after" syn:"generate_samples num_samples"`
	Prompts  []string `toml:"prompts" doc:"further prompts to continue before and after" example:"[\"Once upon a time\"]"`
}

// Generate is how texts are continued. Of a model that reads sources, generation_config.json gives what the recipe does not.
type Generate struct {
	MaxNewTokens      int      `toml:"max_new_tokens" default:"64" min:"1" doc:"at most so many tokens" syn:"max_tokens max_length n_predict"`
	Temperature       float64  `toml:"temperature" default:"0" min:"0" doc:"0 = always the best token" syn:"temp"`
	TopK              int      `toml:"top_k" default:"0" min:"0" doc:"draw from the k best tokens; 0 = all"`
	TopP              float64  `toml:"top_p" default:"1" min:"0" max:"1" doc:"draw from the best tokens that hold this probability"`
	MinP              float64  `toml:"min_p" default:"0" min:"0" max:"1" doc:"draw from tokens at least so probable as this share of the best"`
	RepetitionPenalty float64  `toml:"repetition_penalty" default:"1" above:"0" doc:"above 1 discourages tokens that were seen" syn:"repeat_penalty"`
	NoRepeatNgram     int      `toml:"no_repeat_ngram_size" default:"0" min:"0" doc:"no n-gram of this length twice; 0 = allowed"`
	NumBeams          int      `toml:"num_beams" default:"1" min:"1" doc:"width of beam search; 1 = none" syn:"beams beam_size"`
	LengthPenalty     float64  `toml:"length_penalty" default:"1" doc:"beams are scored by log-probability / length^penalty"`
	Stop              []string `toml:"stop" doc:"texts that end a continuation" example:"[\"\\n\"]" syn:"stop_strings stop_sequences"`
	Seed              uint64   `toml:"seed" default:"0" doc:"seed of the draws"`
}

// Output is where results go.
type Output struct {
	Dir         string `toml:"dir" doc:"run folder; default runs/NAME-OF-RECIPE" example:"runs/first" syn:"output_dir save_dir adapter_path run_dir logging_dir"`
	Overwrite   bool   `toml:"overwrite" default:"false" doc:"replace a run that is there" syn:"overwrite_output_dir force"`
	TensorBoard bool   `toml:"tensorboard" default:"true" doc:"write TensorBoard events" syn:"report_to use_tensorboard"`
}

// Given says whether the file or --set names a key.
func (r *Recipe) Given(path string) bool { return r.given[path] }
