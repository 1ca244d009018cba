"""A light for each doubt: what could make the scores of a comparison group say less than they seem to."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmark.data.audit.audit import SHIFTED, Audit
from benchmark.evaluation.bootstrap import SEEDS_TO_RESAMPLE
from benchmark.reporting.board.audit_summary import audits_of
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.phrases import LEAKS, patient_note, seed_notes

SHORTCUT_SERIOUS, SHORTCUT_CAUTION = 0.5, 0.25  # what trivial features reach above chance, as a share of the best row
LEAKS_TOLD = 2  # each fold has its own
ECE_SERIOUS, ECE_CAUTION = 0.1, 0.05
WIDTH_SERIOUS, WIDTH_CAUTION = 0.1, 0.05  # of the 95 % interval of the best row's macro-F1


class Level(StrEnum):
    """How grave a doubt is."""

    GOOD = "good"
    CAUTION = "caution"
    SERIOUS = "serious"
    UNKNOWN = "not known"


@dataclass(frozen=True)
class Doubt:
    """One doubt.

    Args:
        about: a word or two, such as ``patients``.
        level: how grave it is.
        text: one sentence or two.
    """

    about: str
    level: Level
    text: str


def doubts(board: Board, rows: Sequence[BoardRow]) -> list[Doubt]:
    """Return the doubts of a comparison group, the same six for each; empty where no row has scores."""
    scored = sorted((row for row in rows if row.values["n_runs"]), key=lambda row: -row.macro_f1)
    if not scored:
        return []
    audits = audits_of(rows)
    return [
        _patients(rows),
        _copies(audits, scored),
        _shortcuts(audits, scored),
        _seeds(board, scored),
        _calibration(scored),
        _size(board, scored),
    ]


def _level(*, serious: bool, caution: bool) -> Level:
    return Level.SERIOUS if serious else Level.CAUTION if caution else Level.GOOD


def _patients(rows: Sequence[BoardRow]) -> Doubt:
    data = rows[0].first.record.data
    level = Level.GOOD if data.grouped and not data.leaks else Level.SERIOUS
    leaks = dict.fromkeys(leak for row in rows for result in row.results for leak in result.record.data.leaks)
    texts = [leak.removesuffix(".") for leak in leaks]
    if len(texts) > LEAKS_TOLD:
        texts = [*texts[:LEAKS_TOLD], "the other folds alike" if data.folds else f"{len(texts) - LEAKS_TOLD} more"]
    sentence = f" {LEAKS}{'; '.join(texts)}." if leaks else ""
    return Doubt("patients", level, patient_note(data) + sentence)


def _copies(audits: Sequence[Audit], rows: Sequence[BoardRow]) -> Doubt:
    if not audits:
        return Doubt("copies", Level.UNKNOWN, "The images were not audited.")
    near = sum(audit.near.test_images for audit in audits)
    copies = sum(audit.pixel_identical.test_images for audit in audits)
    removed, two = max(audit.removed or 0 for audit in audits), audits[0].near.conflicting
    shifted = max(audits, key=lambda audit: audit.shift())
    level = _level(serious=near > 0, caution=two > 0 or shifted.shift() >= SHIFTED)
    text = (
        f"{near} of {rows[0].values['n_test']} test images have a near-duplicate in training or validation "
        f"({copies} of them an identical copy)."
        if near
        else "No test image has a copy or a near-duplicate in training or validation."
    )
    text += f" {removed} training images were left out for that." if removed else ""
    if shifted.shift() >= SHIFTED:
        text += (
            f" Class shares of training and test are {shifted.shift():.2f} apart (total variation distance): "
            "validation does not stand for test"
        )
        text += "; --split regroup cuts the parts anew instead." if removed else "."
    labels = "group of copies carries" if two == 1 else "groups of copies carry"
    text += f" {two} {labels} two labels: at least one is wrong." if two else ""
    return Doubt("copies", level, text)


def _shortcuts(audits: Sequence[Audit], rows: Sequence[BoardRow]) -> Doubt:
    """Return how far trivial features get without a network, beside the rows."""
    best: dict[str, tuple[float, float]] = {}
    for audit in audits:
        for probe in audit.probe:
            reached = max(probe.balanced_accuracy, best.get(probe.target, (0.0, 0.0))[0])
            best[probe.target] = reached, probe.chance
    if not best:
        return Doubt("shortcuts", Level.UNKNOWN, "No probe was made, or a class has too few training images.")
    own = [row.values["balanced_accuracy"] for row in rows]
    shares = []
    for target, (reached, chance) in best.items():
        top = max(own) if target == "class" else 1.0
        shares.append((reached - chance) / max(top - chance, 1e-9))
    serious, caution = max(shares) >= SHORTCUT_SERIOUS, max(shares) >= SHORTCUT_CAUTION
    accuracies = " and ".join(
        f"{reached:.2f} for {'the class' if target == 'class' else 'tumour or not'} (chance {chance:.2f})"
        for target, (reached, chance) in best.items()
    )
    span = f"rows reach {min(own):.2f} to {max(own):.2f}" if len(own) > 1 else f"row reaches {own[0]:.2f}"
    return Doubt(
        "shortcuts",
        _level(serious=serious, caution=caution),
        f"Without a network, trivial features (size, file type, borders, brightness, histogram; the last two contain "
        f"the lesion's pixels) reach a balanced accuracy of {accuracies}; the {span} for the class.",
    )


def _seeds(board: Board, rows: Sequence[BoardRow]) -> Doubt:
    judged = board.judged(rows).values()
    if not judged:
        return Doubt("seeds", Level.UNKNOWN, "No row is whole.")
    fewest = min(judged, key=lambda statistics: statistics.seeds)
    notes = seed_notes(fewest)
    if notes:
        return Doubt("seeds", Level.CAUTION, notes[0])
    return Doubt(
        "seeds",
        Level.GOOD,
        f"At least {max(fewest.seeds, SEEDS_TO_RESAMPLE)} seeds a row; intervals include their spread.",
    )


def _calibration(rows: Sequence[BoardRow]) -> Doubt:
    errors = {str(row.values["backbone"]): float(row.values["ece"]) for row in rows if "ece" in row.values}
    if not errors:
        return Doubt("calibration", Level.UNKNOWN, "No calibration error is known.")
    worst = max(errors, key=lambda name: errors[name])
    level = _level(serious=errors[worst] > ECE_SERIOUS, caution=errors[worst] > ECE_CAUTION)
    return Doubt(
        "calibration",
        level,
        f"Calibration error {min(errors.values()):.3f} to {errors[worst]:.3f} ({worst}): the mean difference between "
        "how sure a row is of its answers and how many of them are right.",
    )


def _size(board: Board, rows: Sequence[BoardRow]) -> Doubt:
    best = rows[0]
    interval, statistics = best.intervals.get("macro_f1"), board.statistics.get(best.block.name)
    if interval is None:
        return Doubt("test set", Level.UNKNOWN, f"{best.values['n_test']} images; no interval is known.")
    width = interval.high - interval.low
    level = _level(serious=width > WIDTH_SERIOUS, caution=width > WIDTH_CAUTION)
    kind = "patients" if best.first.record.data.grouped else "independent images or clusters of copies"
    clusters = "" if statistics is None else f" ({statistics.clusters} {kind})"
    return Doubt(
        "test set",
        level,
        f"{best.values['n_test']} test images{clusters}: the 95 % interval of the best macro-F1 is {width:.3f} wide.",
    )
