"""What a results folder knows of suites: which runs are which entry's, and the figures beside which they are set.

A record does not say to which suites its run belongs, because identical runs are one, whoever asks for them. So each
command with a suite leaves ``suites/NAME.json`` in the folder.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.atomic_files import write_atomically
from benchmark.errors import UserError
from benchmark.recipe.suite import Conclusion, Suite

_FOLDER = "suites"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Experiment(_Part):
    """One entry of a suite.

    Args:
        name, reference, gpu, note: the fields of :class:`~benchmark.recipe.suite.SuiteEntry`.
        runs: the keys of its runs, by the user's changes to the recipe (``epochs=2``; empty without any).
    """

    name: str
    reference: str | None
    gpu: bool
    note: str
    runs: Mapping[str, tuple[str, ...]]


class Experiments(_Part):
    """A suite and its runs.

    Args:
        suite: the suite's name.
        about, notes, source, conclusions: the fields of :class:`~benchmark.recipe.suite.Suite`.
        known: the lines of its table of known figures by their id; empty without such a table.
        entries: its entries, in the suite's order.
    """

    suite: str
    about: str
    notes: tuple[str, ...]
    source: str
    conclusions: tuple[Conclusion, ...]
    known: Mapping[str, Mapping[str, str]]
    entries: tuple[Experiment, ...]


def known_figures(suite: Suite) -> dict[str, dict[str, str]]:
    """Return the lines of a suite's table of known figures by their id.

    Raises:
        UserError: the table can't be read or has no column ``id``, or an entry or a conclusion names a line that is
            not there.
    """
    if suite.reference is None:
        return {}
    path = suite.folder / suite.reference
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            figures = {line["id"]: line for line in csv.DictReader(stream)}
    except (OSError, ValueError) as error:
        raise UserError(f"In {suite.where}, reference: {path} can't be read: {error}.") from None
    except KeyError:
        raise UserError(f"In {suite.where}, reference: {path} has no column 'id'.") from None
    named = {f"entry '{entry.name}', reference": entry.reference for entry in suite.entries}
    for number, conclusion in enumerate(suite.conclusions, start=1):
        named |= {f"conclusion {number}, of": conclusion.of, f"conclusion {number}, than": conclusion.than}
    for place, name in named.items():
        if name is not None and name not in figures:
            raise UserError(
                f"In {suite.where}, {place}: {path.name} has no line '{name}'; it has {', '.join(figures)}."
            )
    return figures


def save_experiments(
    out: Path, suite: Suite, members: Mapping[str, Iterable[str]], changes: Mapping[str, Any]
) -> None:
    """Write which runs are which entry's, beside those of earlier commands.

    Args:
        out: the results folder.
        suite: the suite as it is now; what the file said of it before is replaced.
        members: the keys of the runs by the name of their entry.
        changes: the user's changes to every recipe, dotted fields and their values.

    Raises:
        UserError: it can't be written, or the suite's table can't be read.
    """
    label = ", ".join(f"{field}={value}" for field, value in sorted(changes.items()))
    before = {} if (old := _read(_path(out, suite.name))) is None else {each.name: each.runs for each in old.entries}
    entries = []
    for entry in suite.entries:
        runs = dict(before.get(entry.name, {}))
        if entry.name in members:
            runs[label] = tuple(dict.fromkeys([*runs.get(label, ()), *members[entry.name]]))
        entries.append(
            Experiment(name=entry.name, reference=entry.reference, gpu=entry.gpu, note=entry.note, runs=runs)
        )
    experiments = Experiments(
        suite=suite.name,
        about=suite.about,
        notes=suite.notes,
        source=suite.source,
        conclusions=suite.conclusions,
        known=known_figures(suite),
        entries=tuple(entries),
    )
    path = _path(out, suite.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, experiments.model_dump_json(indent=1))
    except OSError as error:
        raise UserError(f"--out {out} can't be written: {error.strerror or error}.") from None


def read_experiments(folders: Iterable[Path]) -> tuple[Experiments, ...]:
    """Return what results folders know of suites, the runs of a suite in several folders together."""
    suites: dict[str, Experiments] = {}
    for path in sorted(path for folder in folders for path in (folder / _FOLDER).glob("*.json")):
        here = _read(path)
        if here is not None:
            suites[here.suite] = _together(suites[here.suite], here) if here.suite in suites else here
    return tuple(suites.values())


def _together(first: Experiments, second: Experiments) -> Experiments:
    others = {entry.name: entry.runs for entry in second.entries}
    entries = []
    for entry in first.entries:
        more = others.get(entry.name, {})
        runs = {label: (*entry.runs.get(label, ()), *more.get(label, ())) for label in {**entry.runs, **more}}
        entries.append(entry.model_copy(update={"runs": runs}))
    return first.model_copy(update={"entries": tuple(entries)})


def _path(out: Path, suite: str) -> Path:
    return out / _FOLDER / f"{suite}.json"


def _read(path: Path) -> Experiments | None:
    """Return what a file says, ``None`` where it is not there or can't be used: the next command writes it anew."""
    try:
        return Experiments.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
