"""What a results folder knows of suites: which runs are which entry's, and the figures beside which they are set.

A record does not say to which suites its run belongs, because identical runs are one, whoever asks for them. So each
command with a suite leaves ``suites/NAME.json`` in the folder.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.atomic_files import inside, write_atomically
from benchmark.errors import UserError, writing
from benchmark.foreign_files import MAX_NAME, Refused, is_plain_name, list_foreign, read_foreign
from benchmark.recipe.suite import SHIPPED, Conclusion, Suite
from benchmark.records.record_folder import first_problem
from benchmark.records.results_folder import SUITES
from benchmark.text import plain

_MAX_BYTES = 4 * 2**20  # of a file on a suite
_MAX_TEXT = 10_000  # characters
# Reports stand beside the board and beside what people write there themselves.
_TAKEN = ("agents", "claude", "contributing", "gallery", "index", "leaderboard", "licence", "license", "readme",
          "report", "security")  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_max_length=_MAX_TEXT)


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
        if path.name != suite.reference:  # a suite's table goes into its report: no other file is put there
            raise Refused("give the name of a file that stands beside the suite")
        own = suite.folder == SHIPPED  # where installers may lay links
        data = path.read_bytes() if own else read_foreign(suite.folder, suite.reference, limit=_MAX_BYTES)
        text = data.decode("utf-8-sig")
        lines = list(csv.DictReader(io.StringIO(text, newline="")))
        for number, line in enumerate(lines, start=1):
            if None in line or None in line.values():
                raise Refused(f"line {number} below its heading has more cells than that, or fewer")
        figures = {line["id"]: line for line in lines}
    except (OSError, ValueError, csv.Error, Refused) as error:
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
        UserError: it can't be written, the suite's name can't be that of a file of results, or its table can't be
            read.
    """
    wrong = problem_with_suite_name(suite.name)
    if wrong:
        raise UserError(f"In {suite.where}: its name '{plain(suite.name)}' {wrong}; give the file another name.")
    label = ", ".join(f"{field}={value}" for field, value in sorted(changes.items()))
    figures = known_figures(suite)
    try:
        experiments = _with_runs(suite, figures, _read(out, f"{suite.name}.json"), members, label)
    except ValidationError as error:
        raise UserError(f"In {suite.where}: {first_problem(error)}.") from None
    with writing(f"--out {out}"):
        write_atomically(inside(out, *SUITES, f"{suite.name}.json"), experiments.model_dump_json(indent=1))


def _with_runs(
    suite: Suite,
    figures: Mapping[str, Mapping[str, str]],
    old: Experiments | str,
    members: Mapping[str, Iterable[str]],
    label: str,
) -> Experiments:
    """Return what is known of a suite: as it is now, with the runs of earlier commands and those of this one."""
    before = {each.name: each.runs for each in old.entries} if isinstance(old, Experiments) else {}
    entries = []
    for entry in suite.entries:
        runs = dict(before.get(entry.name, {}))
        if entry.name in members:
            runs[label] = tuple(dict.fromkeys([*runs.get(label, ()), *members[entry.name]]))
        entries.append(
            Experiment(name=entry.name, reference=entry.reference, gpu=entry.gpu, note=entry.note, runs=runs)
        )
    return Experiments(
        suite=suite.name,
        about=suite.about,
        notes=suite.notes,
        source=suite.source,
        conclusions=suite.conclusions,
        known=figures,
        entries=tuple(entries),
    )


def problem_with_suite_name(name: str) -> str:
    """Return why a suite may not be called so, as the end of a sentence; empty where it may.

    Its name becomes that of a report beside the board: of a plain file, and of none that stands there already.
    """
    if not is_plain_name(name):
        return f"is not of letters, digits, spaces and _-+,.() alone, {MAX_NAME} at most"
    if name.casefold() in _TAKEN:
        return "is that of another file beside the board"
    return ""


def read_experiments(folders: Iterable[Path]) -> tuple[tuple[Experiments, ...], tuple[str, ...]]:
    """Return what results folders know of suites, the runs of a suite in several folders together, and a sentence for
    each file that is not used.
    """
    suites: dict[str, Experiments] = {}
    problems: list[str] = []
    for folder in folders:
        try:
            names = [name for name in list_foreign(folder, *SUITES) if name.endswith(".json") and name[0] != "."]
        except Refused as refused:
            problems.append(f"{SUITES[-1]} is not used: {refused}.")
            continue
        for name in names:
            here = _read(folder, name)
            if isinstance(here, Experiments):
                suites[here.suite] = _together(suites[here.suite], here) if here.suite in suites else here
            elif here:
                problems.append(plain(f"{SUITES[-1]}/{name[:MAX_NAME]} is not used: {here}."))
    return tuple(suites[name] for name in sorted(suites)), tuple(problems)


def _together(first: Experiments, second: Experiments) -> Experiments:
    others = {entry.name: entry.runs for entry in second.entries}
    entries = []
    for entry in first.entries:
        more = others.get(entry.name, {})
        runs = {label: (*entry.runs.get(label, ()), *more.get(label, ())) for label in {**entry.runs, **more}}
        entries.append(entry.model_copy(update={"runs": runs}))
    return first.model_copy(update={"entries": tuple(entries)})


def _read(out: Path, name: str) -> Experiments | str:
    """Return what a file says, or why it can't be used, empty where it is not there: the next command writes it."""
    try:
        experiments = Experiments.model_validate_json(read_foreign(out, *SUITES, name, limit=_MAX_BYTES))
    except FileNotFoundError:
        return ""
    except Refused as refused:
        return str(refused)
    except ValidationError as error:
        return f"it is not what a suite leaves ({first_problem(error)})"
    wrong = problem_with_suite_name(experiments.suite)
    if wrong:
        return f"the suite's name '{experiments.suite[:MAX_NAME]}' {wrong}"
    if name != f"{experiments.suite}.json":
        return f"it is of another suite, '{experiments.suite}'"
    return experiments
