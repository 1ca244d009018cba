"""A suite's runs beside the figures that it repeats, and what of these figures' conclusions they bear out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt

from benchmark.atomic_files import inside, write_atomically
from benchmark.evaluation.comparison import ALPHA, mcnemar_clustered
from benchmark.evaluation.metrics import decide
from benchmark.foreign_files import Refused, read_foreign
from benchmark.grouping import grouped
from benchmark.recipe.suite import Conclusion
from benchmark.records.suite_membership import Experiment, Experiments, read_experiments
from benchmark.reporting.board.board import Board
from benchmark.reporting.board.column import count
from benchmark.reporting.board.columns import columns_of
from benchmark.reporting.board.phrases import DISCLAIMER
from benchmark.reporting.board.rows import Result
from benchmark.reporting.documents.markdown_cells import bullets, escaped, text_table

Bools = npt.NDArray[np.bool_]
Verdict = tuple[str, str]  # in a word, and with its figures
_MAX_REPORT = 16 * 2**20  # bytes of an earlier report, whose place a new one takes


@dataclass(frozen=True)
class Repeated:
    """An entry's runs on one choice of images, with one set of the user's changes.

    Args:
        entry: the entry of the suite.
        results: its runs, at least one.
    """

    entry: Experiment
    results: tuple[Result, ...]

    @property
    def scored(self) -> tuple[Result, ...]:
        """The runs that have scores."""
        return tuple(result for result in self.results if result.scores is not None)

    @property
    def how(self) -> str:
        """Which of the experiment's variants it is: what its name says after the comma."""
        return self.entry.name.partition(", ")[2] or self.entry.name

    def mean(self, measure: str) -> float | None:
        """Return a measure's mean over runs; ``None`` without scores or where the data has no such class."""
        values = [value for result in self.scored if (value := _measured(result, measure)) is not None]
        return fmean(values) if values else None


@dataclass(frozen=True)
class SuiteRuns:
    """What is comparable: one choice of images, one set of changes, and each entry's runs on it."""

    title: str
    entries: tuple[Repeated, ...]


def with_reports(board: Board, folders: Iterable[Path], out: Path) -> tuple[Board, dict[str, str]]:
    """Return the board with a note on each report, and the reports as Markdown by file name.

    A report is made for each suite that has known figures and runs on the board. Of one that may not be written into
    the folder ``out``, as a file of its name is there that no report left, the board has a sentence alone.
    """
    reports = {}
    notes = list(board.notes)
    all_experiments, problems = read_experiments(folders)
    for experiments in all_experiments:
        all_suite_runs = _suite_runs(experiments, {result.record.key: result for result in board.results})
        if experiments.known and all_suite_runs:
            name = f"{experiments.suite}.md"
            reports[name] = report(experiments, all_suite_runs)
            notes.append(f"{experiments.about}: set beside the figures that they repeat in {name}.")
    mine = {name: text for name, text in reports.items() if _is_free(out, name)}
    taken = [f"{name} is not written: a file of that name is in '{out}' that is not such a report; rename one."
             for name in reports if name not in mine]  # fmt: skip
    return replace(board, notes=tuple(notes), problems=(*board.problems, *problems, *taken)), mine


def _is_free(out: Path, name: str) -> bool:
    try:
        return DISCLAIMER.encode() in read_foreign(out, name, limit=_MAX_REPORT)
    except FileNotFoundError:
        return True
    except Refused:
        return False


def write_reports(reports: Mapping[str, str], out: Path) -> None:
    """Write reports into a folder.

    Raises:
        OSError: a report's name leads out of it, or it can't be written.
    """
    for name, text in reports.items():
        write_atomically(inside(out, name), text)


def report(experiments: Experiments, all_suite_runs: Sequence[SuiteRuns]) -> str:
    """Return the report of a suite as Markdown."""
    parts = [f"# {escaped(experiments.about)}", DISCLAIMER]
    parts.append(bullets(experiments.notes))
    for suite_runs in all_suite_runs:
        parts += [f"## {escaped(suite_runs.title)}", _figures(experiments, suite_runs)]
        parts.append(bullets(_remarks(suite_runs)))
        if experiments.conclusions:
            judged = _judged(experiments.conclusions, suite_runs)
            parts += ["### Which conclusions survive", escaped(_survivors(experiments.conclusions, judged))]
            sentences = [
                (conclusion.says, _told(conclusion, experiments, {how: each[number] for how, each in judged.items()}))
                for number, conclusion in enumerate(experiments.conclusions)
            ]
            parts.append("\n".join(f"- **{escaped(says)}.** {escaped(verdict)}" for says, verdict in sentences))
    parts.append(_READING)
    return "\n\n".join(part for part in parts if part) + "\n"


_READING = f"""## How to read this

- **fn** counts images of a class that are not predicted as that class; **missed** those that are predicted as the \
class without a tumour. An empty cell means that the figure is not known.
- A conclusion *holds* or is *reversed* where McNemar's test, adjusted for copies, gives a p below {ALPHA} \
for the difference on the same test images; else it can't be told from chance. p is not corrected for the number of \
conclusions, and a single seed speaks of the trained models alone."""


def _suite_runs(experiments: Experiments, results: Mapping[str, Result]) -> list[SuiteRuns]:
    """Return what a board has of a suite, whole data sets and recipes without changes first."""
    runs_of: dict[tuple[str, ...], dict[str, list[Result]]] = {}
    for entry in experiments.entries:
        for changes, keys in entry.runs.items():
            for result in (results[key] for key in keys if key in results):
                data = result.record.data
                limit = "" if data.limit is None else f", limited to {data.limit} images"
                title = f"{data.name}, split {result.split}{limit}" + (f", with {changes}" if changes else "")
                place = changes, limit, data.fingerprint, title
                runs_of.setdefault(place, {}).setdefault(entry.name, []).append(result)
    entries = {entry.name: entry for entry in experiments.entries}
    return [
        SuiteRuns(place[-1], tuple(Repeated(entries[name], tuple(runs)) for name, runs in runs_of[place].items()))
        for place in sorted(runs_of)
    ]


# --- the table ----------------------------------------------------------------------------------------------------


def _figures(experiments: Experiments, suite_runs: SuiteRuns) -> str:
    """Return the table of figures: each known line, and under it what repeats it."""
    columns = {column.name: column for column in columns_of(suite_runs.entries[0].results[0].record.data)}
    kinds = ("accuracy", "f1_", "fn_", "missed_")
    measures = [name for kind in kinds for name in columns if name.startswith(kind)]
    all_lines = [
        *experiments.known.values(),
        *({m: _text(e.mean(m), m) for m in measures} for e in suite_runs.entries),
    ]
    measures = [measure for measure in measures if any(line.get(measure) for line in all_lines)]
    lines = []
    for number, figures in experiments.known.items():
        repeated = _once([each for each in suite_runs.entries if each.entry.reference == number])
        if not repeated:
            continue
        lines.append([number, experiments.source, *(figures.get(measure) or "" for measure in measures)])
        for how, each in repeated:
            cells = [_text(each.mean(measure), measure) for measure in measures]
            lines.append(["", how if each.scored else f"{how}: {each.results[0].status}", *cells])
    head = ["experiment", "whose", *(columns[measure].title for measure in measures)]
    return text_table(head, lines, left=head[:2])


def _once(entries: Sequence[Repeated]) -> list[tuple[str, Repeated]]:
    """Return entries with how they are called, those that are the same runs once."""
    by_runs: dict[tuple[str, ...], tuple[list[str], Repeated]] = {}
    for each in entries:
        key = tuple(result.record.key for result in each.results)
        by_runs.setdefault(key, ([], each))[0].append(each.how)
    return [(" = ".join(names), each) for names, each in by_runs.values()]


def _text(value: float | None, measure: str) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if measure == "accuracy" else f"{value:.2f}" if measure.startswith("f1_") else count(value)


def _measured(result: Result, measure: str) -> float | None:
    """Return a run's value of a measure, ``None`` where it has none or where no test image is of the class."""
    class_name = measure.partition("_")[2]
    has_images = not class_name or result.values.get(f"support_{class_name}")
    return result.values.get(measure) if has_images else None


def _remarks(suite_runs: SuiteRuns) -> list[str]:
    """Return what a reader must know of single entries: their notes, GPU marks and failures."""
    remarks = [f"{each.entry.name}: {each.entry.note}." for each in suite_runs.entries if each.entry.note]
    marked = [each for each in suite_runs.entries if each.entry.gpu]
    if marked:
        names = dict.fromkeys(each.entry.name.partition(", ")[0] for each in marked)
        remarks.append(f"Meant for a GPU, or for a small --limit: {', '.join(names)}.")
    for each in suite_runs.entries:
        for result in each.results:
            if result.scores is None:
                remarks.append(f"{each.entry.name} has no figures, {result.status}: {result.reason}")
    return remarks


# --- the conclusions ----------------------------------------------------------------------------------------------


def _judged(conclusions: Sequence[Conclusion], suite_runs: SuiteRuns) -> dict[str, list[Verdict]]:
    """Return the verdict on each conclusion by variant of the runs."""
    variants = dict.fromkeys(each.how for each in suite_runs.entries)
    return {how: [_verdict(conclusion, suite_runs, how) for conclusion in conclusions] for how in variants}


def _told(conclusion: Conclusion, experiments: Experiments, verdicts: Mapping[str, Verdict]) -> str:
    """Return a sentence on what the known figures say of a conclusion, and one for each different verdict on ours."""
    there = [
        experiments.known[name].get(conclusion.measure) or "no figure"
        for name in (conclusion.of, conclusion.than)
        if name
    ]
    sentences = [f"{_capital(experiments.source)}: {' against '.join(there)}."]
    variants = grouped((verdict, how) for how, (_, verdict) in verdicts.items())
    return " ".join(
        [*sentences, *(f"{_capital(' and '.join(hows))}: {verdict}." for verdict, hows in variants.items())]
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _verdict(conclusion: Conclusion, suite_runs: SuiteRuns, how: str) -> Verdict:
    """Return in a word whether a conclusion holds of one variant of the runs, and the same with its figures."""
    entries = {each.entry.reference: each for each in suite_runs.entries if each.how == how and each.scored}
    absent = [name for name in (conclusion.of, conclusion.than) if name is not None and name not in entries]
    if absent:
        return "open", f"open, as there is no result of {' and '.join(absent)}"
    first = entries[conclusion.of]
    own = first.mean(conclusion.measure)
    if own is None:
        return "open", f"open, as the data has no {conclusion.measure.replace('_', ' ')}"
    if conclusion.than is None:
        assert conclusion.at_most is not None
        word = "holds" if own <= conclusion.at_most else "does not hold"
        return word, f"{word} ({_text(own, conclusion.measure)})"
    second = entries[conclusion.than]
    other = second.mean(conclusion.measure)
    by_cluster = _by_cluster(first, second, conclusion.measure)
    if by_cluster is None or other is None:
        return "open", "open, as the two were not tested on the same images"
    better = float(by_cluster.sum())
    p = mcnemar_clustered(np.array([better]), np.array([(by_cluster**2).sum()]), len(by_cluster))[0]
    word = "not told from chance" if p >= ALPHA or not better else "holds" if better > 0 else "is reversed"
    outcome = "can't be told from chance" if word == "not told from chance" else word
    return (
        word,
        f"{outcome} ({_text(own, conclusion.measure)} against {_text(other, conclusion.measure)}, p = {p:.2g})",
    )


def _by_cluster(first: Repeated, second: Repeated, measure: str) -> npt.NDArray[np.float64] | None:
    """Return for each cluster of test images how many more the first gets right; a mean over runs of the same seed.

    ``None`` where no two runs were tested on the same images.
    """
    pairs = [
        (a, b)
        for a in first.scored
        for b in second.scored
        if (a.record.seed, a.record.data.split_hash) == (b.record.seed, b.record.data.split_hash)
    ]
    clusters: dict[str, float] = {}
    seeds = len({a.record.seed for a, _ in pairs})
    for a, b in pairs:
        right, concerned, groups, images = _right(a, measure)
        right_b, _, _, images_b = _right(b, measure)
        if not np.array_equal(images, images_b):
            return None
        for group, more in zip(groups[concerned], right[concerned].astype(int) - right_b[concerned], strict=True):
            clusters[str(group)] = clusters.get(str(group), 0.0) + float(more) / seeds
    return np.array(list(clusters.values())) if clusters else None


def _right(result: Result, measure: str) -> tuple[Bools, Bools, npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    """Return which test images are read without the error in question, which count, their clusters and ids."""
    assert result.predictions is not None
    test, data = result.predictions.part("test"), result.record.data
    predicted = decide(test.probabilities)
    groups = np.where(test.groups == "", np.char.add("\n", test.image_ids), test.groups)  # alone where none is known
    if measure == "accuracy":
        return predicted == test.labels, np.ones(len(predicted), dtype=bool), groups, test.image_ids
    kind, _, name = measure.partition("_")
    of_class = test.labels == data.class_names.index(name)
    if kind == "fn":
        return predicted == test.labels, of_class, groups, test.image_ids
    return predicted != data.negative, of_class, groups, test.image_ids


def _survivors(conclusions: Sequence[Conclusion], judged: Mapping[str, Sequence[Verdict]]) -> str:
    """Return one paragraph: how many conclusions hold, and which don't."""

    def told(verdicts: Sequence[Verdict]) -> str:
        by_word = grouped(
            (word, conclusion.says) for conclusion, (word, _) in zip(conclusions, verdicts, strict=True)
        )
        opened = len(by_word.pop("open", []))
        sentences = [f"{len(by_word.pop('holds', []))} of {len(conclusions) - opened} conclusions hold"]
        sentences += [f"{word}: {'; '.join(says)}" for word, says in by_word.items()]
        if opened:
            sentences.append(f"{opened} more are open for want of results")
        return ". ".join(_capital(part) if number else part for number, part in enumerate(sentences))

    variants = grouped((told(verdicts), how) for how, verdicts in judged.items())
    return " ".join(f"{_capital(' and '.join(hows))}, {sentence}." for sentence, hows in variants.items())
