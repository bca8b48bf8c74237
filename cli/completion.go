package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// scripts are the shells' hooks: each asks the program itself what may follow.
var scripts = map[string]string{
	"bash": `# bash completion for graft: source <(graft completion bash)
_graft() {
  local cur opts
  cur="${COMP_WORDS[COMP_CWORD]}"
  opts=$("${COMP_WORDS[@]:0:$COMP_CWORD}" ${cur:+"$cur"} --generate-bash-completion 2>/dev/null)
  COMPREPLY=($(compgen -W "${opts}" -- "${cur}"))
  [ ${#COMPREPLY[@]} -eq 0 ] && COMPREPLY=($(compgen -f -- "${cur}"))
}
complete -o filenames -F _graft graft
`,
	"zsh": `#compdef graft
# zsh completion for graft: source <(graft completion zsh)
_graft() {
  local -a opts
  local cur=${words[-1]}
  opts=("${(@f)$(${words[@]:0:#words[@]-1} ${cur:+"$cur"} --generate-bash-completion 2>/dev/null)}")
  if [[ "${opts[1]}" != "" ]]; then
    _describe 'values' opts
  fi
  _files
}
compdef _graft graft
`,
	"fish": `# fish completion for graft: graft completion fish | source
complete -c graft -a '(set -l w (commandline -opc) (commandline -ct); $w --generate-bash-completion 2>/dev/null)'
`,
}

func (e *env) completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a completion script for bash, zsh or fish",
		UsageText: "source <(graft completion bash)",
		ArgsUsage: "bash|zsh|fish",
		BashComplete: func(c *cli.Context) {
			fmt.Fprintln(e.stdout, "bash\nzsh\nfish")
		},
		Action: func(c *cli.Context) error {
			if err := atMost(c, 1); err != nil {
				return err
			}
			script, ok := scripts[c.Args().First()]
			if !ok {
				return usagef("completion: shell %q, want bash, zsh or fish", c.Args().First())
			}
			_, err := fmt.Fprint(e.stdout, script)
			return err
		},
	}
}
