package cli

import "testing"

// TestPlainName pairs the names of adapter files with those of PEFT's parameters in memory.
func TestPlainName(t *testing.T) {
	for file, memory := range map[string]string{
		"base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight":         "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.default.weight",
		"base_model.model.bert.encoder.layer.0.attention.self.query.lora_magnitude_vector": "base_model.model.bert.encoder.layer.0.attention.self.query.lora_magnitude_vector.default.weight",
		"base_model.model.bert.encoder.layer.0.output.dense.ia3_l":                         "base_model.model.bert.encoder.layer.0.output.dense.ia3_l.default",
		"base_model.model.classifier.bias":                                                 "base_model.model.classifier.modules_to_save.default.bias",
		"base_model.classifier.weight":                                                     "base_model.classifier.modules_to_save.default.weight",
		"prompt_embeddings":                                                                "prompt_encoder.default.embedding.weight",
		"bert.encoder.layer.0.output.dense.bias":                                           "bert.encoder.layer.0.output.dense.bias",
	} {
		if a, b := plainName(file), plainName(memory); a != b {
			t.Errorf("plainName(%q) = %q, plainName(%q) = %q, want the same", file, a, memory, b)
		}
	}
}
