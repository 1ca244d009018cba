"""The board's answer in a few sentences: which row is best, which are tied with it, whether pretraining paid.

The page, ``leaderboard.md`` and the terminal say the same sentences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.evaluation.comparison import Comparison
from benchmark.evaluation.statistics import compare_each
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.column import count
from benchmark.reporting.board.folds import predictions_by_fold
from benchmark.reporting.board.pairs import ends_text, row_pairs
from benchmark.reporting.figures.labels import full_names
from benchmark.reporting.summary.sections import place_text, reasons

MOST_NAMED = 12  # rows that a sentence names
WITHIN = 0.02  # of the best macro-F1: among such rows the fastest is named
DEMONSTRATION = "this is a demonstration; do not choose a backbone by it."
LEAKING = "slices of one patient, or copies, are in training and in test: all scores here are too high."


@dataclass(frozen=True)
class Answer:
    """One question that a reader brings, and its answer.

    Args:
        question: a few words, such as ``Best row``.
        text: one sentence or two.
    """

    question: str
    text: str

    def __str__(self) -> str:
        return f"{self.question}{'' if self.question.endswith('?') else ':'} {self.text}"


def answers(board: Board, rows: Sequence[BoardRow]) -> list[Answer]:
    """Return the answers of a comparison group; empty where no row has scores.

    Rows that fell back to random weights, are not whole, or are no better than guessing are no candidates.

    Args:
        rows: the rows of the comparison group that are shown.
    """
    if not any(row.values["n_runs"] for row in rows):
        return []
    first = [Answer("Simulated images", DEMONSTRATION)] if rows[0].first.record.data.synthetic else []
    names = {id(row): name for row, name in zip(rows, full_names(rows), strict=True)}
    candidates = [row for row in rows if row.eligible]
    if not candidates:
        return [*first, Answer("Best row", _none(rows, names))]
    if "leak" in candidates[0].block.unranked:
        first.append(Answer("Leaking split", LEAKING))
    chosen = _Candidates(sorted(candidates, key=lambda row: -row.macro_f1), names)
    return [
        *first,
        Answer("Best row", f"{chosen.told(chosen.best)}."),
        Answer("Tied with it", _tied(board, chosen)),
        *_fastest(chosen),
        *_fewest_missed(chosen),
        *_from_scratch(board, chosen),
        Answer("Did pretraining pay?", _pretraining(chosen)),
    ]


def answer_lines(board: Board) -> list[str]:
    """Return all answers as lines of text, those of each comparison group under its name where there are several.

    What is crossed stands in its matrix.
    """
    groups = [rows for rows in board.comparison_groups() if rows[0].first.record.data.external is None]
    lines: list[str] = []
    for rows in groups:
        sentences = [str(answer) for answer in answers(board, rows)]
        if sentences and len(groups) > 1:
            lines.append(rows[0].block.comparison_group_name)
        lines += sentences
    return lines


@dataclass(frozen=True)
class _Candidates:
    """The rows that can be the answer, the highest macro-F1 first, and the names of all rows by their identity."""

    rows: Sequence[BoardRow]
    names: dict[int, str]

    @property
    def best(self) -> BoardRow:
        return self.rows[0]

    def name(self, row: BoardRow) -> str:
        return self.names[id(row)]

    def told(self, row: BoardRow) -> str:
        """Return a row with its start, its macro-F1 and its speed."""
        start = "pretrained" if row.block.pretrained else "from random weights"
        interval, speed = row.intervals.get("macro_f1"), row.values.get("infer_images_per_s")
        ends = "" if interval is None else f" (95 % interval {interval.low:.3f} to {interval.high:.3f})"
        pace = "" if speed is None else f", {speed:.0f} images/s"
        return f"{self.name(row)}, {start}, macro-F1 {row.macro_f1:.3f}{ends}{pace}"


def _none(rows: Sequence[BoardRow], names: Mapping[int, str]) -> str:
    """Return that there is no best row, and which rows are better than guessing but can't be ranked."""
    apart = [row for row in rows if row.values["n_runs"] and not row.guessed]
    if not apart:
        return "none; no row is shown to be better than guessing."
    text = _first([f"{names[id(row)]} ({reasons(row.block.unranked)})" for row in apart])
    return f"none. Better than guessing, but not to be ranked: {text}."


def _tied(board: Board, chosen: _Candidates) -> str:
    """Return which rows of the best row's block are not significantly worse."""
    best = chosen.best
    pairs = row_pairs(board, best.block.name).of(best)
    place = place_text(best.block)
    if not pairs:
        return f"none; it is the only row of its block ({place})."
    tied = _not_worse(board, chosen, best)
    if not tied:
        others = "the other row is" if len(pairs) == 1 else f"all {len(pairs)} others are"
        return f"none; {others} significantly worse ({place})."
    return f"{_first(tied)}: not significantly worse on these images ({place})."


def _not_worse(board: Board, chosen: _Candidates, best: BoardRow) -> list[str]:
    """Return the rows of a row's block that are not told apart from it, with their macro-F1."""
    pairs = [pair for pair in row_pairs(board, best.block.name).of(best) if not pair.better]
    rows = [next(row for row in pair.rows if row is not best) for pair in pairs]
    return [f"{chosen.names[id(row)]} ({row.macro_f1:.3f})" for row in rows]


def _first(names: Sequence[str]) -> str:
    """Return names in a sentence, of very many the first."""
    if len(names) <= MOST_NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"


def _fastest(chosen: _Candidates) -> list[Answer]:
    """Return the fastest row whose macro-F1 is close to the best, among speeds that can be compared."""
    best = chosen.best
    if "infer_images_per_s" not in best.values:
        return []
    near = [
        row
        for row in chosen.rows
        if row.macro_f1 >= best.macro_f1 - WITHIN
        and row.values.get("speed_block") == best.values.get("speed_block")
        and "infer_images_per_s" in row.values
    ]
    fastest = max(near, key=lambda row: row.values["infer_images_per_s"])
    text = (
        f"{chosen.told(fastest)}."
        if fastest is not best
        else f"the best row itself; no row within {WITHIN} of it is faster."
    )
    return [Answer(f"Fastest within {WITHIN} of the best", text)]


def _fewest_missed(chosen: _Candidates) -> list[Answer]:
    """Return the row that calls the fewest tumours healthy; nothing where no class is the healthy one."""
    data = chosen.best.first.record.data
    tumours = [name for name in data.tumour_names if chosen.best.values.get(f"support_{name}")]
    if not tumours:
        return []
    missed = {id(row): sum(row.values.get(f"missed_{name}", 0) for name in tumours) for row in chosen.rows}
    least = min(missed.values())
    rows = [row for row in chosen.rows if missed[id(row)] == least]
    total = sum(rows[0].values.get(f"support_{name}", 0) for name in tumours)
    parts = ", ".join(f"{name} {count(rows[0].values.get(f'missed_{name}', 0))}" for name in tumours)
    named = [chosen.name(row) for row in rows]
    names = _first(named) if not 1 < len(named) <= MOST_NAMED else f"{', '.join(named[:-1])} and {named[-1]}"
    detail = f" ({parts})" if len(rows) == 1 and len(tumours) > 1 else ""
    verb = "misses" if len(rows) == 1 else "each miss"
    return [Answer("Fewest missed tumours", f"{names} {verb} {count(least)} of {count(total)}{detail}.")]


def _from_scratch(board: Board, chosen: _Candidates) -> list[Answer]:
    """Return the best row from random weights where a pretrained one is the best of all, and those tied with it."""
    rows = [row for row in chosen.rows if not row.block.pretrained]
    if not rows or not chosen.best.block.pretrained:
        return []
    tied = _not_worse(board, chosen, rows[0])
    also = f" Not significantly worse: {_first(tied)}." if tied else ""
    return [Answer("Best from scratch", f"{chosen.told(rows[0])}.{also}")]


def _pretraining(chosen: _Candidates) -> str:
    """Return whether pretrained rows are better on the same images, one network with itself where there is one."""
    pretrained = [row for row in chosen.rows if row.block.pretrained]
    scratch = [row for row in chosen.rows if not row.block.pretrained]
    if not pretrained or not scratch:
        start = "pretrained" if pretrained else "random"
        return f"not known: all rows that count started from {start} weights."
    by_network = {(row.values["backbone"], row.values["recipe"]): row for row in reversed(scratch)}
    twins = [
        (row, by_network[key])
        for row in pretrained
        for key in [(row.values["backbone"], row.values["recipe"])]
        if key in by_network
    ]
    first, second = twins[0] if twins else (pretrained[0], scratch[0])
    compared = across_blocks(first, second)
    if compared is None:
        return "not known: the rows were not read on the same images."
    verdict = "can't be told"
    if compared.better is not None:
        verdict = "yes" if compared.better == compared.first else "no"
    more = "more" if compared.difference >= 0 else "less"
    which = (
        "One network, from two kinds of weights."
        if twins
        else "The two are different networks, so that this is not of the weights alone."
    )
    return (
        f"{verdict}: {chosen.name(first)} (pretrained) has {abs(compared.difference):.3f} {more} macro-F1 than "
        f"{chosen.name(second)} (random weights) on the same images, {ends_text(compared)}. {which}"
    )


def across_blocks(first: BoardRow, second: BoardRow) -> Comparison | None:
    """Compare two rows on the same test images whatever weights they started from; ``None`` where it can't be."""
    return next(iter(compare_each([predictions_by_fold(row.results) for row in (first, second)])), None)
