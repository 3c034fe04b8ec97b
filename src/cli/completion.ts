import type { Command, Option } from 'commander';

/** What a shell can complete, taken from the commands themselves, so that it cannot fall behind them. */
export interface CompletionTree {
  readonly name: string;
  readonly commands: readonly CompletionCommand[];
}

export interface CompletionCommand {
  readonly name: string;
  readonly description: string;
  readonly options: readonly CompletionOption[];
}

export interface CompletionOption {
  readonly long: string;
  readonly short: string | null;
  readonly description: string;
  readonly choices: readonly string[];
  readonly takesValue: boolean;
}

export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

export function completionTree(program: Command): CompletionTree {
  return {
    name: program.name(),
    commands: program.commands.map((command) => ({
      name: command.name(),
      description: firstSentence(command.description()),
      options: command.options.flatMap(toOption),
    })),
  };
}

function toOption(option: Option): CompletionOption[] {
  if (option.long === undefined || option.long === null || option.hidden) return [];
  return [
    {
      long: option.long,
      short: option.short ?? null,
      description: firstSentence(option.description),
      choices: option.argChoices ?? [],
      takesValue: option.required || option.optional,
    },
  ];
}

function firstSentence(text: string): string {
  return (text.split('\n')[0] ?? '').replace(/\s*\(.*$/, '').trim();
}

export function completionScript(tree: CompletionTree, shell: Shell): string {
  switch (shell) {
    case 'bash':
      return bashScript(tree);
    case 'zsh':
      return zshScript(tree);
    case 'fish':
      return fishScript(tree);
  }
}

function bashScript({ name, commands }: CompletionTree): string {
  const options = commands
    .filter((command) => command.name !== 'completion')
    .map((command) => {
      const words = [...command.options.map((option) => option.long), '--help'].join(' ');
      return `    ${command.name}) words='${words}' ;;`;
    });
  const values = commands.flatMap((command) =>
    command.options
      .filter((option) => option.choices.length > 0)
      .map(
        (option) =>
          `    '${command.name} ${option.long}') COMPREPLY=($(compgen -W '${option.choices.join(' ')}' -- "$current")); return ;;`,
      ),
  );
  return `# bash completion of ${name}. Load it with: source <(${name} completion bash)
_${name}() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} words
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '${commands.map((command) => command.name).join(' ')} --help --version' -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]} $previous" in
${values.join('\n')}
    *' --html') COMPREPLY=($(compgen -f -- "$current")); return ;;
    *' --state') COMPREPLY=($(compgen -d -- "$current")); return ;;
  esac
  case "\${COMP_WORDS[1]}" in
${options.join('\n')}
    completion) words='${shells.join(' ')}' ;;
    help) words='${commands.map((command) => command.name).join(' ')}' ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _${name} ${name}
`;
}

const zshText = (text: string): string => text.replace(/[[\]:'\\]/g, ' ').trim();

function zshScript({ name, commands }: CompletionTree): string {
  const list = commands.map((command) => `    '${command.name}:${zshText(command.description)}'`);
  const cases = commands.map((command) => {
    if (command.name === 'completion') return `    completion) _values shell ${shells.join(' ')} ;;`;
    const specs = command.options.map((option) => {
      const value = option.takesValue
        ? `:value:${option.choices.length > 0 ? `(${option.choices.join(' ')})` : '_default'}`
        : '';
      return `'*${option.long}[${zshText(option.description)}]${value}'`;
    });
    return `    ${command.name}) _arguments ${specs.join(' ')} '--help[show help]' ;;`;
  });
  return `#compdef ${name}
# zsh completion of ${name}. Save it as _${name} in a directory of $fpath.
_${name}() {
  local -a commands
  commands=(
${list.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
}
compdef _${name} ${name}
`;
}

const fishText = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll("'", "\\'");

function fishScript({ name, commands }: CompletionTree): string {
  const lines = commands.flatMap((command) => {
    const here = `-n '__fish_seen_subcommand_from ${command.name}'`;
    return [
      `complete -c ${name} -f -n __fish_use_subcommand -a ${command.name} -d '${fishText(command.description)}'`,
      ...command.options.map((option) => {
        const short = option.short === null ? '' : ` -s ${option.short.slice(1)}`;
        const value =
          option.choices.length > 0 ? ` -x -a '${option.choices.join(' ')}'` : option.takesValue ? ' -r' : '';
        return `complete -c ${name} ${here} -l ${option.long.slice(2)}${short}${value} -d '${fishText(option.description)}'`;
      }),
    ];
  });
  return `# fish completion of ${name}. Save it as ~/.config/fish/completions/${name}.fish
${lines.join('\n')}
complete -c ${name} -f -n '__fish_seen_subcommand_from completion' -a '${shells.join(' ')}'
`;
}
