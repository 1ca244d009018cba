"""The command that does the runs of one row again."""

import shlex
from collections.abc import Iterator, Sequence

from benchmark.reporting.board.board import BoardRow

_PROGRAM = ("python", "-m", "benchmark")  # as the harness writes it, however it was started
# Options that choose among runs, or what is done about those that exist: a row's own take their place.
_FLAGS = ("--all", "--rerun", "--rerun-speeds", "--only-failed", "--debug")
_VALUES = ("--backbone", "--seed", "--entry", "--folds")  # each takes words up to the next option


def command_of(row: BoardRow) -> str:
    """Return the command as it was typed, but for this row's backbone, seeds and folds alone, done even if they are
    done: several commands may have made them.

    Empty where the record does not hold a command of this program, or one with letters that are not shown: a record
    may come from a stranger, and a command is there to be copied. A results folder that is typed stays; what the run
    was made under (commit, library versions, device) stands in its provenance.
    """
    record = row.first.record
    typed = record.provenance.get("command", "")
    try:
        arguments = shlex.split(typed) if isinstance(typed, str) else [str(argument) for argument in typed]
    except (ValueError, TypeError):  # a quotation without end, or nothing that has words
        return ""
    if tuple(arguments[: len(_PROGRAM)]) != _PROGRAM:
        return ""
    seeds = sorted({result.record.seed for result in row.results})
    chosen = ["--backbone", record.backbone.name, "--seed", *map(str, seeds)]
    if record.data.folds is not None:
        folds = sorted({result.record.data.fold for result in row.results if result.record.data.fold is not None})
        chosen += ["--folds", "all" if len(folds) == record.data.folds else ",".join(map(str, folds))]
    suite = any(argument == "--suite" or argument.startswith("--suite=") for argument in arguments)
    if suite and " = " not in record.recipe_name:
        chosen += ["--entry", record.recipe_name]
    command = shlex.join([*_PROGRAM, *chosen, *_others(arguments[len(_PROGRAM) :]), "--rerun"])
    return command if command.isprintable() else ""


def _others(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the words of a command but those that choose among its runs."""
    dropping = False
    for argument in arguments:
        if argument.startswith("-") and not argument[1:].isdecimal():
            name, equals, _ = argument.partition("=")
            dropping = name in _VALUES and not equals
            if name in _FLAGS or name in _VALUES:
                continue
        elif dropping:
            continue
        yield argument
