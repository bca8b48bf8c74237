// Package serve answers many requests at once over one model, each through adapters of its own.
//
// A Registry gives names to adapters, an Engine answers:
//
//	registry := serve.NewRegistry(m, serve.RegistryOptions{Table: methods.All, Budget: 1 << 30})
//	go registry.Watch(ctx, "adapters", log)                              // each folder in it is an adapter
//	engine := serve.NewEngine(m, registry, serve.EngineOptions{Mode: kernel.DefaultMode()})
//	defer engine.Close(ctx)
//	result, err := engine.Generate(ctx, serve.Generation{
//		Adapters: peft.Fully("formal"), Prompt: ids, Options: generate.Options{MaxNewTokens: 50},
//	}, func(t serve.Token) bool { … })
//
// A version is what an adapter's files were when they were read, told by their hash. It never changes; a name may come to stand for
// another. A lease is a request's hold of the versions that it uses. A step is one forward pass over the next rows of all texts that
// are under way. A page is memory for the keys and values of some rows; texts that begin alike, through the same versions, share pages.
//
// What holds: an answer depends on nothing but its request and the versions that it was given. Other requests of a step change
// the roundings of float32 sums, since products of other numbers of rows are summed in another order: log-probabilities of
// size 1 to 10 differ by less than 2e-5, and a text can part only where two tokens are as near as that.
//
// docs/serve.md says what the parts do when memory, time or callers run out.
package serve
