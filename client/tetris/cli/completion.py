"""Completion for bash, zsh and fish: commands, flags, and the names that the daemon knows.

A shell's script only asks ``tetrisctl complete`` with the words of the line; what can stand there
is decided here, from the table of commands. Nothing is ever said of what goes wrong: it would
stand in somebody's prompt.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from tetris.cli import suggest
from tetris.cli.answer import Answer
from tetris.cli.command import Argument, Command
from tetris.errors import TetrisError

# Status that tells a shell to complete the name of a file.
FILES = 1

_BASH = """\
# tetrisctl for bash: eval "$(tetrisctl completion bash)"
_tetrisctl() {
    local names name
    COMPREPLY=()
    names=$(tetrisctl complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || {
        compopt -o default
        return
    }
    while IFS= read -r name; do
        # Quoted: a name is somebody's word, and the line will be run.
        [[ -n $name ]] && COMPREPLY+=("$(printf %q "$name")")
    done <<<"$names"
}
complete -F _tetrisctl tetrisctl
"""
_ZSH = """\
#compdef tetrisctl
# tetrisctl for zsh: eval "$(tetrisctl completion zsh)", or as _tetrisctl in a directory of $fpath
_tetrisctl() {
    local names
    names=$(tetrisctl complete -- "${(@)words[2,CURRENT]}" 2>/dev/null) || { _files; return }
    [[ -n $names ]] && compadd -- "${(@f)names}"
}
if [[ $funcstack[1] == _tetrisctl ]]; then _tetrisctl "$@"; else compdef _tetrisctl tetrisctl; fi
"""
_FISH = """\
# tetrisctl for fish: tetrisctl completion fish | source
function __tetrisctl
    set -l words (commandline -opc) (commandline -ct)
    tetrisctl complete -- $words[2..-1] 2>/dev/null; or __fish_complete_path (commandline -ct)
end
complete -c tetrisctl -f -a '(__tetrisctl)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(arguments: argparse.Namespace) -> None:
    """Print the script of a shell."""
    print(SCRIPTS[arguments.shell], end="")  # noqa: T201


def complete(
    words: Sequence[str], commands: Sequence[Command], common: Sequence[Argument]
) -> Answer:
    """What can stand where the last of ``words`` is being typed."""
    *before, typed = words or [""]
    line = _Line(commands, common)
    for word in before:
        line.take(word)
    found = line.candidates(typed)
    if found is None:
        return Answer([], [], FILES)
    names = sorted(n for n in set(found) if n.startswith(typed) and n.isprintable())
    return Answer(names, names)


_UNKNOWN = Command("", completion, "")


class _Line:
    """What the words say so far."""

    def __init__(self, commands: Sequence[Command], common: Sequence[Argument]) -> None:
        self._commands = {c.name: c for c in commands if c.help}
        self._command: Command | None = None
        self._flags = {name: flag for flag in common for name in flag.names}
        self._words: list[Argument] = []
        self._expected: Argument | None = None
        self._given = argparse.Namespace(socket=None, admin_socket=None, all_tenants=False)

    def take(self, word: str) -> None:
        """The next word, which is complete."""
        if self._expected is not None:
            setattr(self._given, self._expected.dest, word)
            self._expected = None
        elif word.startswith("-"):
            flag = self._flags.get(word)
            if flag is not None and flag.takes_value:
                self._expected = flag
            elif flag is not None:
                setattr(self._given, flag.dest, True)
        elif self._command is None:
            self._begin(self._commands.get(word, _UNKNOWN))
        else:
            del self._words[:1]

    def _begin(self, command: Command) -> None:
        self._command = command
        for argument in command.arguments:
            if argument.is_flag:
                self._flags |= dict.fromkeys(argument.names, argument)
                if "default" in argument.options:
                    setattr(self._given, argument.dest, argument.options["default"])
            else:
                self._words.append(argument)

    def candidates(self, typed: str) -> Iterable[str] | None:
        """What can stand next; None: a file."""
        if self._expected is not None:
            return self._values(self._expected)
        if typed.startswith("-"):
            return self._flags
        if self._command is None:
            return self._commands
        return self._values(self._words[0]) if self._words else ()

    def _values(self, argument: Argument) -> Iterable[str] | None:
        choices: Any = argument.options.get("choices")
        if choices is not None:
            return list(choices)
        if argument.dest in _NAMES:
            with suppress(TetrisError):
                return _NAMES[argument.dest](self._given)
            return ()
        return () if "type" in argument.options else None


_NAMES = {"model": suggest.model_names, "tenant": suggest.tenant_names}
