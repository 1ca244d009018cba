"""The values of options: read from words, refused in a sentence, offered to a shell."""

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from benchmark.errors import UserError
from benchmark.text import seconds_of


def seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Read a duration: seconds, or a number with s, m or h."""
    if value is None:
        return None
    try:
        seconds = seconds_of(value)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise UserError(f"--timeout {value}: give seconds, or a number with s, m or h, such as 90, 30m or 2h.")
    return seconds


def workers(_: click.Context, __: click.Parameter, value: str) -> int | str:
    """Read a number of workers."""
    if value == "auto":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"--workers {value}: give a number of workers from 1, or auto.")
    return int(value)


def budget(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Read a size on the disk."""
    if value is None:
        return None
    from benchmark.training.feature_store import parse_size

    try:
        return parse_size(value)
    except ValueError:
        raise UserError(f"--cache-budget {value}: give a size such as 500MB or 20GB; 0 keeps nothing.") from None


def seeds(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...]:
    """Read whole numbers, apart or with commas between them; ``auto`` is none."""
    words = [word.strip() for value in values for word in value.split(",") if word.strip()]
    if words == ["auto"]:
        return ()
    try:
        return tuple(dict.fromkeys(int(word) for word in words))
    except ValueError:
        raise UserError(f"--seed {' '.join(values)}: give whole numbers, such as --seed 0,1,2, or auto.") from None


def cams(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Read how many images are explained: a number, or ``none`` for 0."""
    if value is None or value.strip().isdecimal():
        return None if value is None else int(value)
    if value.strip().lower() == "none":
        return 0
    raise UserError(f"--cam {value}: give a number of test images, or none.")


def offered(names: Callable[[], Iterable[str]], *, files: bool = True) -> Callable[..., list[CompletionItem]]:
    """Return what offers a shell the names that fit what was typed and, where none does, files."""

    def offer(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
        fitting = [CompletionItem(name) for name in names() if name.startswith(begun)]
        return fitting or [CompletionItem(begun, type="file")] * files

    return offer


def backbone_names() -> Iterable[str]:
    """Return the names of all registered backbones."""
    from backbones.registry import load_registry

    return load_registry().names()


def recipe_names() -> Iterable[str]:
    """Return the names of the recipes that are shipped."""
    from benchmark.recipe import shipped_names

    return shipped_names()


def suite_names() -> Iterable[str]:
    """Return the names of the suites that are shipped."""
    from benchmark.recipe import suite

    return suite.suite_names()


def corruption_names() -> Iterable[str]:
    """Return the names of all corruptions."""
    from benchmark.draws.corruptions import CORRUPTIONS

    return ("all", "none", *CORRUPTIONS)
