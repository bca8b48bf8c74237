package model

// marian is BART with sines for positions and without norms of the embedding [junczys-dowmunt2018].
var marian = Architecture{
	ModelType: "marian",
	Aliases:   bartAliases,
	Defaults: func() Config {
		c := bartDefaults()
		c.VocabSize, c.HiddenAct, c.EOSTokenID = 58101, "gelu", TokenIDs{0}
		c.PadTokenID = id(58100)
		return c
	},
	Complete: completeBart,
	Check:    checkBart,
	Spec: func(c *Config) Spec {
		s := bartSpec(c)
		for _, x := range []*Spec{&s.Encoder.Spec, &s} {
			x.Sinusoids, x.Buffers = true, append(x.Buffers, ".embed_positions.weight") // which old files hold
		}
		return s
	},
}
