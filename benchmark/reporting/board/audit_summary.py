"""The audit on the leaderboard: what could flatter the scores of a comparison group, in a few lines."""

from collections.abc import Sequence

from benchmark.data.audit.audit import Audit
from benchmark.data.audit.table import near_sentences
from benchmark.data.dataset import PARTS
from benchmark.grouping import grouped
from benchmark.reporting.board.board import BoardRow

HEAD = (
    "split",
    "byte-identical groups",
    "pixel-identical groups",
    "groups of near-duplicates",
    "test images with a near-duplicate",
    "groups with two labels",
    "patients on both sides",
    "left out by --dedupe",
    "class shares apart",
)


def audit_summary(rows: Sequence[BoardRow]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return what the records tell of a comparison group's audits: a line for each split, under :data:`HEAD`, and
    sentences that are the same for all of them. Both are empty where none was audited.
    """
    of_splits = _of_splits(rows)
    if not of_splits:
        return [], []
    first = of_splits[0][2]
    notes = [
        "Groups among all images; in brackets those with images in test and in training or validation. Copies are "
        "identical images.",
        f"Near-duplicates: {first.near_rule}; identical images included.",
        *near_sentences(first),
        *(_shares(name, audit) for _, name, audit in of_splits),
        *_probe_notes(first),
    ]
    return [_line(name, audit) for _, name, audit in of_splits], notes


def audits_of(rows: Sequence[BoardRow]) -> list[Audit]:
    """Return the audits behind a comparison group's rows, one for each split, in the order of folds."""
    return [audit for *_, audit in _of_splits(rows)]


def _of_splits(rows: Sequence[BoardRow]) -> list[tuple[int, str, Audit]]:
    """Return fold, name and audit of each split."""
    audits: dict[str, tuple[int, str, Audit]] = {}
    for row in rows:
        for result in row.results:
            record = result.record
            if record.audit is not None:
                data = record.data
                audits.setdefault(data.split_hash, (data.fold or 0, data.split, record.audit))
    return sorted(audits.values(), key=lambda entry: entry[:2])


def _line(name: str, audit: Audit) -> tuple[str, ...]:
    return (
        name,
        *(
            f"{copies.groups} ({copies.across})"
            for copies in (audit.byte_identical, audit.pixel_identical, audit.near)
        ),
        str(audit.near.test_images),
        str(audit.near.conflicting),
        "unknown" if audit.patients is None else f"{audit.patients.across} of {audit.patients.number}",
        "" if audit.removed is None else str(audit.removed),
        f"{audit.shift():.2f}",
    )


def _shares(name: str, audit: Audit) -> str:
    """Return the class shares of each part of a split, and how far training and test are apart."""
    parts = [
        f"{part} " + ", ".join(f"{c} {100 * share:.1f} %" for c, share in audit.shares(part).items())
        for part in PARTS
        if audit.shares(part)
    ]
    return (
        f"Class shares, {name}: {'; '.join(parts)}. Training and test are {audit.shift():.2f} apart, validation and "
        f"test {audit.shift('validation', 'test'):.2f} (total variation distance, 0-1)."
    )


def _probe_notes(audit: Audit) -> list[str]:
    """Return for each target what trivial features tell of it, beside chance."""
    if not audit.probe:
        return ["Shortcut probe: too few training images of a class."]
    return [
        f"Shortcut probe: balanced accuracy for {'the class' if target == 'class' else f'{target} against the rest'} "
        f"from trivial features, fitted to training and judged on test images, chance {probes[-1].chance:.2f}: "
        + ", ".join(f"{probe.features} {probe.balanced_accuracy:.2f}" for probe in probes)
        + ". Brightness and histogram are of the whole image: a part of what they tell may be the tumour."
        for target, probes in grouped((probe.target, probe) for probe in audit.probe).items()
    ]
