package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/serve"
	"github.com/graft-ml/graft/serve/api"
	"github.com/urfave/cli/v2"
)

// keysVariable holds keys where no file does.
const keysVariable = "GRAFT_API_KEYS"

func (e *env) serveCommand() *cli.Command {
	l := api.DefaultLimits()
	return &cli.Command{
		Name:  "serve",
		Usage: "answer over HTTP with a model and many adapters, in the forms of OpenAI, vLLM, LoRAX and llama-server",
		Description: "Each folder in --adapters is an adapter by its name; it may come, change and go while the server runs. A request's \"model\" is\n" +
			"the base or an adapter. GET / is a page to chat and to compare, GET /openapi.json tells all routes, docs/server.md more.\n\n" +
			"Without more flags only this machine can ask (127.0.0.1), and adapters change by the folder alone. Keys, one a line, are\n" +
			"\"use KEY [NAME]\" or \"admin KEY [NAME]\", in the file of --keys or in " + keysVariable + ". SIGTERM and SIGINT end the server when\n" +
			"the requests in flight are answered, a second signal at once.",
		ArgsUsage: "MODEL",
		UsageText: "graft serve models/qwen --adapters adapters\n" +
			"graft serve models/qwen --adapters adapters --listen 0.0.0.0:8080 --keys keys.txt --tls-cert cert.pem --tls-key key.pem\n" +
			"graft serve models/qwen --adapter sql=runs/sql/adapter --adapter-bytes 2000000000\n" +
			"graft serve models/qwen --compute bf16 --quantize lossless+head\n" +
			"curl localhost:8080/v1/completions -H 'Content-Type: application/json' -d '{\"model\": \"sql\", \"prompt\": \"Once\"}'",
		Flags: append(allowFlags(),
			&cli.StringFlag{Name: "adapters", Usage: "`folder` whose folders are adapters, watched for changes"},
			&cli.StringSliceFlag{Name: "adapter", Usage: "`NAME=FOLDER` of an adapter that is served whatever --adapters holds"},
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:8080", Usage: "`address` to listen at"},
			&cli.StringFlag{Name: "name", Usage: "what requests call the base; without, its folder's name"},
			&cli.StringFlag{Name: "keys", Usage: "`file` with API keys"},
			&cli.BoolFlag{Name: "allow-anonymous", Usage: "let other machines ask without a key"},
			&cli.BoolFlag{Name: "allow-runtime-adapters", Usage: "let requests (of the scope admin) load and unload adapters below --adapters"},
			&cli.StringSliceFlag{Name: "host-name", Usage: "`name` that requests may be addressed to, beside localhost; several with several flags"},
			&cli.StringFlag{Name: "tls-cert", Usage: "`file` with the certificate, PEM"},
			&cli.StringFlag{Name: "tls-key", Usage: "`file` with its key, PEM"},
			&cli.StringFlag{Name: "compute", Value: "auto", Usage: "auto, f32, bf16 or split"},
			quantizeFlag(),
			&cli.StringFlag{Name: "chat-template", Usage: "`file` with a Jinja template instead of the tokenizer's"},
			&cli.StringFlag{Name: "pool", Value: string(serve.PoolMean), Usage: "what embeddings are made of: mean, first or last"},
			&cli.IntFlag{Name: "max-len", Usage: "tokens of prompt and answer together; without, the model's length"},
			&cli.IntFlag{Name: "max-new-tokens", Value: l.NewTokens, Usage: "tokens of one answer at most"},
			&cli.Int64Flag{Name: "adapter-bytes", Usage: "adapters in memory at most, others come back from disk when they are asked for; 0 = no limit"},
			&cli.Int64Flag{Name: "cache-bytes", Value: 1 << 30, Usage: "keys and values in memory at most"},
			&cli.IntFlag{Name: "max-batch-tokens", Value: 512, Usage: "rows of one forward pass"},
			&cli.IntFlag{Name: "max-sequences", Value: 64, Usage: "texts that are continued at once"},
			&cli.IntFlag{Name: "max-requests", Value: l.Requests, Usage: "requests in flight; others are told to come later"},
			&cli.IntFlag{Name: "max-connections", Value: l.Connections, Usage: "connections that are open at once"},
			&cli.Int64Flag{Name: "max-body", Value: l.Body, Usage: "bytes of one request"},
			&cli.DurationFlag{Name: "answer-timeout", Value: l.Answer, Usage: "time for one answer"},
			&cli.DurationFlag{Name: "write-timeout", Value: l.Write, Usage: "time for a client to take one piece of an answer"},
			&cli.DurationFlag{Name: "drain-timeout", Value: 30 * time.Second, Usage: "time for requests in flight when the server ends"},
			&cli.StringFlag{Name: "log-level", Value: "info", Usage: "debug, info, warn or error"}),
		Action: e.serve,
	}
}

// allowFlags are what modelFlags has about adapters' files.
func allowFlags() (list []cli.Flag) {
	for _, f := range modelFlags() {
		if strings.HasPrefix(f.Names()[0], "allow-") {
			list = append(list, f)
		}
	}
	return list
}

func (e *env) serve(c *cli.Context) error {
	path, err := one(c, "model")
	if err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return usagef("serve: --log-level is %q, want debug, info, warn or error", c.String("log-level"))
	}
	log := slog.New(slog.NewJSONHandler(e.stderr, &slog.HandlerOptions{Level: level}))
	config, err := serveConfig(c, log)
	if err != nil {
		return err
	}
	b, err := openBase(c.Context, path, arithmetic{compute: c.String("compute"), quantize: c.String("quantize")})
	if err != nil {
		return err
	}
	defer b.close()
	if err := describeBase(c, b, &config); err != nil {
		return err
	}
	registry := serve.NewRegistry(b.model, serve.RegistryOptions{Table: methods.All, Budget: c.Int64("adapter-bytes"), Allow: allowed(c)})
	if err := loadNamed(c, registry); err != nil {
		return err
	}
	engine := serve.NewEngine(b.model, registry, serve.EngineOptions{Mode: b.mode, CacheBytes: c.Int64("cache-bytes"),
		MaxBatchTokens: c.Int("max-batch-tokens"), MaxSequences: c.Int("max-sequences"), MaxQueue: config.Limits.Requests * config.Limits.Choices})
	config.Engine, config.Adapters = engine, registry
	h, err := api.New(config)
	if err != nil {
		return errors.Join(usageError{err}, engine.Close(context.Background()))
	}
	return listen(c, h, engine, registry, log)
}

// serveConfig reads the flags that say who may ask for what.
func serveConfig(c *cli.Context, log *slog.Logger) (api.Config, error) {
	l := api.DefaultLimits()
	l.NewTokens, l.Requests, l.Connections = c.Int("max-new-tokens"), c.Int("max-requests"), c.Int("max-connections")
	l.Body, l.Answer, l.Write = c.Int64("max-body"), c.Duration("answer-timeout"), c.Duration("write-timeout")
	config := api.Config{Limits: l, Log: log, Version: "graft " + version(), Runtime: c.Bool("allow-runtime-adapters"), Pool: serve.Pool(c.String("pool"))}
	if err := l.Validate(); err != nil {
		return config, usageError{err}
	}
	for _, name := range []string{"adapter-bytes", "cache-bytes", "max-batch-tokens", "max-sequences", "max-len"} {
		if n := c.Int64(name) + int64(c.Int(name)); n < 0 {
			return config, usagef("serve: --%s is %d, want at least 0", name, n)
		}
	}
	if !slices.Contains([]serve.Pool{serve.PoolMean, serve.PoolFirst, serve.PoolLast}, config.Pool) {
		return config, usagef("serve: --pool is %q, want mean, first or last", config.Pool)
	}
	if config.Runtime && c.String("adapters") == "" {
		return config, usagef("serve: --allow-runtime-adapters is for adapters below a folder, want --adapters FOLDER")
	}
	if (c.String("tls-cert") == "") != (c.String("tls-key") == "") {
		return config, usagef("serve: --tls-cert and --tls-key belong together")
	}
	if dir := c.String("adapters"); dir != "" {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			config.Folder, err = filepath.Abs(real)
			config.Loading = true
		}
		if err != nil {
			return config, fmt.Errorf("serve: --adapters: %w", err)
		}
	}
	var err error
	if config.Keys, err = readKeys(c.String("keys")); err != nil {
		return config, err
	}
	return config, whoMayAsk(c, &config)
}

// readKeys reads the keys of the file, or else those of the environment.
func readKeys(path string) (api.Keys, error) {
	if path == "" {
		return api.ReadKeys(strings.NewReader(os.Getenv(keysVariable)), keysVariable)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("serve: --keys: %w", err)
	}
	defer f.Close()
	keys, err := api.ReadKeys(f, path)
	if err == nil && len(keys) == 0 {
		err = fmt.Errorf("serve: %s holds no keys, want at least one", path)
	}
	return keys, err
}

// whoMayAsk refuses to let other machines ask without a key, and on this one pages of elsewhere by a name that they made point here.
func whoMayAsk(c *cli.Context, config *api.Config) error {
	host, _, err := net.SplitHostPort(c.String("listen"))
	if err != nil {
		return usagef("serve: --listen is %q, want ADDRESS:PORT", c.String("listen"))
	}
	ip := net.ParseIP(host)
	local := host == "localhost" || ip != nil && ip.IsLoopback()
	config.Hosts = c.StringSlice("host-name")
	if local {
		config.Hosts = append(config.Hosts, "localhost", "127.0.0.1", "::1", host)
	}
	if !local && len(config.Keys) == 0 && !c.Bool("allow-anonymous") {
		return usagef("serve: --listen %s lets other machines ask and there are no keys, want --keys FILE (or --allow-anonymous)", c.String("listen"))
	}
	return nil
}

// tasks are what models of a kind are served for.
var tasks = map[model.HeadKind]string{model.NextToken: "generate", model.SequenceLabels: "classify", model.TokenLabels: "ner", model.NoHead: "embed", model.MaskedToken: "embed"}

// describeBase fills in what the model and its tokenizer say.
func describeBase(c *cli.Context, b *base, config *api.Config) error {
	if err := b.needText(); err != nil {
		return err
	}
	var ok bool
	if config.Task, ok = tasks[b.model.Kind]; !ok {
		return fmt.Errorf("serve: %s has a head %s, want a model that continues texts, labels them or their words, or has no head", b.path, b.model.Kind)
	}
	config.Tokenizer, config.Name = b.tok, c.String("name")
	if config.Name == "" {
		config.Name = filepath.Base(filepath.Clean(strings.TrimPrefix(b.path, recipes.Builtin)))
	}
	config.MaxLen = b.config.MaxPositionEmbeddings
	if n := c.Int("max-len"); n > 0 && (n < config.MaxLen || config.MaxLen == 0) {
		config.MaxLen = n
	}
	if config.MaxLen == 0 {
		config.MaxLen = 1 << 20
	}
	config.EOS = endTokens(b)
	d, err := openDialogue(b.tok, c.String("chat-template"))
	if err != nil || d == nil {
		return err
	}
	if id, ok := d.EndOfTurn(); ok {
		config.EOS = append(config.EOS, id)
	}
	config.Chat = d.Template()
	return nil
}

// loadNamed loads the adapters that flags name; one that is refused ends the server before it begins.
func loadNamed(c *cli.Context, r *serve.Registry) error {
	for _, s := range c.StringSlice("adapter") {
		name, dir, ok := strings.Cut(s, "=")
		if !ok || !api.ValidName(name) {
			return usagef("serve: --adapter is %q, want NAME=FOLDER with a name of A-Z a-z 0-9 . _ -", s)
		}
		if _, err := r.Load(c.Context, name, dir); err != nil {
			return err
		}
	}
	return nil
}

// listen answers until the context ends, and then those that are in flight.
func listen(c *cli.Context, h *api.Server, engine *serve.Engine, registry *serve.Registry, log *slog.Logger) error {
	l, err := net.Listen("tcp", c.String("listen"))
	if err != nil {
		return errors.Join(fmt.Errorf("serve: %w", err), engine.Close(context.Background()))
	}
	watching, stop := context.WithCancel(c.Context)
	defer stop()
	watched := make(chan error, 1)
	go func() { watched <- watch(watching, registry, h, log) }()
	srv := api.NewServer(h, l.Addr().String())
	ended := make(chan error, 1)
	go func() {
		limited := api.LimitListener(l, h.Limits.Connections)
		if cert := c.String("tls-cert"); cert != "" {
			ended <- srv.ServeTLS(limited, cert, c.String("tls-key"))
			return
		}
		ended <- srv.Serve(limited)
	}()
	log.Info("serving", "address", l.Addr().String(), "model", h.Name, "task", h.Task, "keys", len(h.Keys), "version", h.Version)
	select {
	case err = <-ended:
	case <-c.Context.Done():
		err = drain(srv, h, c.Duration("drain-timeout"), log)
	}
	stop()
	err = errors.Join(err, <-watched)
	gone, cancel := context.WithCancel(context.Background())
	cancel() // whoever still waits has had the time for it
	if closed := engine.Close(gone); closed != nil && !errors.Is(closed, context.Canceled) {
		err = errors.Join(err, closed)
	}
	log.Info("stopped")
	return err
}

// drain ends a server: no new requests, and time for those in flight.
func drain(srv *http.Server, h *api.Server, most time.Duration, log *slog.Logger) error {
	log.Info("draining", "most", most.String())
	h.Drain()
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		log.Warn("requests in flight were cut off", "after", most.String())
		return srv.Close()
	}
	return nil
}

// watch keeps the registry as the adapters' folder is.
func watch(ctx context.Context, r *serve.Registry, h *api.Server, log *slog.Logger) error {
	if h.Folder == "" {
		return nil
	}
	err := r.Watch(ctx, h.Folder, func(event, name string, err error) {
		switch {
		case event == serve.EventScan && err == nil:
			h.Loaded()
			return
		case err != nil:
			log.Warn("adapter", "event", event, "name", name, "error", err.Error())
			return
		}
		log.Info("adapter", "event", event, "name", name)
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}
