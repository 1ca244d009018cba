"""Notes on single rows of a comparison group, each said once for all the rows that it concerns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.grouping import grouped
from benchmark.records.record import Record
from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.board.guessing import figures, trained, verdict
from benchmark.reporting.figures.labels import full_names
from benchmark.training.learning_rate_search import edge
from benchmark.training.threads import BUSY_CORES


@dataclass(frozen=True)
class RowNote:
    """A note on some rows of a comparison group.

    Args:
        text: one sentence, which names the rows.
        rows: their numbers within the comparison group, from 0.
    """

    text: str
    rows: tuple[int, ...]


def row_notes(rows: Sequence[BoardRow]) -> list[RowNote]:
    """Return the notes on the rows of a comparison group; rows of which the same is to be said share one."""
    names = full_names(rows)
    fell = [number for number, row in enumerate(rows) if row.first.record.weights.fell_back]
    return [
        *_guesses(rows, names),
        *_reasons(rows, names),
        *_note(
            "Pretrained weights were asked for and could not be had; random ones were used",
            {number: names[number] for number in fell},
        ),
        *_at_edges(rows, names),
        *_busy(rows, names),
        *_beside(rows, names),
        *_by_threads(rows, names),
        *_namesakes(rows),
    ]


def _note(text: str, names: Mapping[int, str], end: str = ".") -> list[RowNote]:
    """Return a note that names rows behind a text; none where there are no such rows.

    Args:
        names: the rows' names with what is said of each, by their numbers.
        end: stands behind them.
    """
    return [RowNote(f"{text}: {', '.join(names.values())}{end}", tuple(names))] if names else []


def _at_edges(rows: Sequence[BoardRow], names: Sequence[str]) -> list[RowNote]:
    """Return which rows' learning rate was chosen at an end of the rates that were tried."""
    edges = {}
    for number, row in enumerate(rows):
        ends: dict[str, None] = {}
        for trials in (result.record.trials for result in row.results):
            rates = [trial.learning_rate for trial in trials]
            ends |= dict.fromkeys(
                f"{trial.learning_rate:g}, {side}"
                for trial in trials
                if trial.chosen and (side := edge(rates, trial.learning_rate))
            )
        if ends:
            edges[number] = f"{names[number]} ({'; '.join(ends)})"
    return _note("The learning rate was chosen at an end of those tried, beyond which a better one may lie", edges)


def _beside(rows: Sequence[BoardRow], names: Sequence[str]) -> list[RowNote]:
    """Return that training speeds can't be compared where other runs of the same command went on beside."""
    settings = [[result.record.settings for result in row.results] for row in rows]
    side_by_side = {
        number: names[number]
        for number, row in enumerate(settings)
        if any(each and each.workers not in (1, "auto") for each in row)
    }
    return _note("Trained beside other runs, so that training speeds can't be compared", side_by_side)


def _busy(rows: Sequence[BoardRow], names: Sequence[str]) -> list[RowNote]:
    """Return that speeds can't be compared where others kept the processor busy while they were measured."""
    taken = [max((result.record.throughput.cores_taken_by_others or 0.0) for result in row.results) for row in rows]
    return _note(
        "Speeds were measured while other programs kept the processor busy, and can't be compared (cores taken)",
        {number: f"{names[number]} ({cores:.1f})" for number, cores in enumerate(taken) if cores >= BUSY_CORES},
        ". --rerun-speeds measures them anew.",
    )


def _by_threads(rows: Sequence[BoardRow], names: Sequence[str]) -> list[RowNote]:
    """Return that deterministic runs on processors, such as of a laptop and of a cluster, had different numbers of
    threads.
    """
    counts = {
        number: sorted({threads for result in row.results if (threads := _threads(result.record)) is not None})
        for number, row in enumerate(rows)
    }
    if len({threads for each in counts.values() for threads in each}) < 2:
        return []
    return _note(
        "Deterministic runs were computed with different numbers of threads, which add the same numbers up in "
        "another order, so that scores are equal bit for bit only where the number is",
        {n: f"{names[n]} with {' and '.join(map(str, each))}" for n, each in counts.items() if each},
    )


def _threads(record: Record) -> int | None:
    """Return how many threads computed a deterministic run on a processor; ``None`` of all others."""
    recipe = record.recipe
    if record.network is None or recipe is None or not recipe.execution.deterministic:
        return None
    word = record.network.execution.get("threads", "").partition(" ")[0]  # the reason for it may follow
    return int(word) if word.isdecimal() and record.identity.get("device_kind") == "cpu" else None


def marks(notes: Sequence[RowNote], count: int) -> list[list[int]]:
    """Return for each of ``count`` rows the numbers of its notes, from 1."""
    return [[number for number, note in enumerate(notes, 1) if row in note.rows] for row in range(count)]


def _guesses(rows: Sequence[BoardRow], names: Sequence[str]) -> list[RowNote]:
    """Return which rows are no better than guessing, those that were trained alike together."""
    alike = grouped((why_guessed(row), number) for number, row in enumerate(rows) if row.guessed)
    labels = [f"{name} ({figures(row.only_answer, row.chance)})" for row, name in zip(rows, names, strict=True)]
    return [note for text, members in alike.items() for note in _note(text, {n: labels[n] for n in members})]


def why_guessed(row: BoardRow) -> str:
    """Return what is said of a row that might have guessed: the verdict, and what it was trained on."""
    return f"{verdict(row.only_answer, row.chance)}, {trained(row.first.record)}"


def _reasons(rows: Sequence[BoardRow], names: Sequence[str]) -> list[RowNote]:
    """Return why rows with scores are not whole."""
    alike = grouped(
        (str(row.values["reason"]), number)
        for number, row in enumerate(rows)
        if row.values["n_runs"] and not row.guessed and row.values.get("reason")
    )
    return [
        RowNote(f"{', '.join(names[number] for number in members)}: {reason}", tuple(members))
        for reason, members in alike.items()
    ]


def _namesakes(rows: Sequence[BoardRow]) -> list[RowNote]:
    """Return a note for each name that several backbones of a comparison group share without being one network."""
    backbones = [row.first.record.backbone for row in rows]
    owners = grouped(
        (facts.name.split("/", 1)[-1].split(":", 1)[-1], number) for number, facts in enumerate(backbones)
    )
    called = [({backbones[n].name: backbones[n].note for n in numbers}, numbers) for numbers in owners.values()]
    return [
        RowNote(f"Not the same network: {'; '.join(_alike(notes))}.", tuple(numbers))
        for notes, numbers in called
        if len(set(notes.values())) > 1 and all(notes.values())
    ]


def _alike(notes: Mapping[str, str]) -> list[str]:
    """Return what each network is, those that are alike together."""
    names_of = grouped((note, full) for full, note in sorted(notes.items()))
    return [
        f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} {note}"
        for note, names in sorted(names_of.items(), key=lambda each: each[1])
    ]
