"""The audit: what could flatter a score on these images, before anything is trained on them."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.atomic_files import write_atomically
from benchmark.data.audit.shortcut_probe import ProbeRow, ReferencePredictions, shortcut_probe
from benchmark.data.dataset import PARTS, DataSet, Labels, Split
from benchmark.data.duplicates.groups import (
    AuditPart,
    Duplicates,
    NearKinds,
    Pair,
    any_of,
    byte_clusters,
    count_duplicates,
    joined,
    near_kinds,
    worst_pairs,
)
from benchmark.data.duplicates.near_duplicates import RULE, TURNS, near_duplicates
from benchmark.data.sources.files import suffix_of
from benchmark.hashing import hash_json
from benchmark.ownership import PRIVATE_FILE, other_writers

AUDIT_VERSION = 4  # raised by hand when the same images would be audited otherwise
SHIFTED = 0.10  # total variation distance of class shares from which validation does not stand for test
_IMBALANCED = 3.0  # largest class over smallest
_SHOWN_SIZES = 8


class Patients(AuditPart):
    """What is known of patients; ``across`` are those in test and in training or validation."""

    number: int
    across: int
    across_validation: int
    with_several_labels: int


class Finding(AuditPart):
    """One sentence. ``leak``: test images are not independent of training; ``warning``: worth knowing."""

    level: str
    text: str


class Audit(AuditPart):
    """All that was found; see the fields' own records.

    ``removed`` is how many training images were left out because they also stand in test (``--dedupe``), ``None``
    where that was not asked for. Groups of copies are counted among all images, those left out included.
    """

    version: int = AUDIT_VERSION
    data: str
    fingerprint: str
    split: str
    split_hash: str
    removed: int | None = None
    balance: dict[str, dict[str, int]]
    byte_identical: Duplicates
    pixel_identical: Duplicates
    near: Duplicates
    near_pairs: dict[str, int]
    near_kinds: NearKinds | None = None
    near_rule: str = RULE
    patients: Patients | None
    probe: tuple[ProbeRow, ...]
    references: tuple[ReferencePredictions, ...] = ()
    sizes: tuple[tuple[str, int], ...]
    distinct_sizes: int
    file_types: dict[str, int]
    unreadable: int
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    worst: tuple[Pair, ...]

    def shares(self, part: str) -> dict[str, float]:
        """Return the share of each class in ``train``, ``validation`` or ``test``, 0-1; empty for an empty part."""
        counts = {name: parts.get(part, 0) for name, parts in self.balance.items()}
        total = sum(counts.values())
        return {name: count / total for name, count in counts.items()} if total else {}

    def shift(self, first: str = "train", second: str = "test") -> float:
        """Return how far the class shares of two parts are apart, 0-1: the total variation distance, half the sum of
        the absolute differences (Levin & Peres 2017, "Markov Chains and Mixing Times", proposition 4.2). That share
        of one part's images would have to change class.
        """
        one, other = self.shares(first), self.shares(second)
        return sum(abs(one[name] - other[name]) for name in one) / 2 if one and other else 0.0

    @property
    def leaks(self) -> tuple[str, ...]:
        """The findings that make a score optimistic."""
        return tuple(finding.text for finding in self.findings if finding.level == "leak")


def audit_data(data: DataSet, split: Split, say: Callable[[str], None] = lambda _: None) -> Audit:
    """Audit a data set under a split, once: the outcome is kept beside the prepared images.

    Args:
        data: the images.
        split: whose parts are looked at; images in none of them count in no part.
        say: gets a sentence before anything that may take long.
    """
    kept = None
    if data.folder is not None:
        groups = None if data.groups is None else data.groups.tolist()
        key = hash_json([AUDIT_VERSION, data.fingerprint, groups, split.name, split.hash])
        kept = data.folder.parent / f"audit-{key[:16]}.json"
        with contextlib.suppress(OSError, ValueError):  # not there, or damaged: done anew
            if not other_writers(kept):
                return Audit.model_validate_json(kept.read_bytes())
    say(f"Auditing {len(data)} images of {data.name}, split {split.name}: copies, patients, shortcuts")
    audit = _audit(data, split)
    if kept is not None:
        with contextlib.suppress(OSError):  # a cache that can't be written costs time the next time, and nothing else
            save_audit(audit, kept, PRIVATE_FILE)
    return audit


def save_audit(audit: Audit, path: Path, mode: int = 0o666) -> None:
    """Write an audit as JSON, complete or not at all, with at most these permissions."""
    write_atomically(path, audit.model_dump_json(indent=1), mode)


def _audit(data: DataSet, split: Split) -> Audit:
    near, probe = near_duplicates(data), shortcut_probe(data, split)
    part = split.part_of_each(len(data))
    patients = None if data.groups is None else _patients(data.groups, data.labels, part)
    counts = {
        name: {where: int((data.labels[part == where] == k).sum()) for where in PARTS}
        for k, name in enumerate(data.class_names)
    }
    sizes = _sizes(data)
    audit = Audit(
        data=data.name,
        fingerprint=data.fingerprint,
        split=split.name,
        split_hash=split.hash,
        removed=split.removed,
        balance=counts,
        byte_identical=count_duplicates(byte_clusters(data), data.labels, part),
        pixel_identical=count_duplicates(data.identical, data.labels, part),
        near=count_duplicates(joined(data.identical, near), data.labels, part),
        near_kinds=near_kinds(data.identical, near, part),
        near_pairs={TURNS[k] or "as they are": int((near.turn == k).sum()) for k in range(len(TURNS))},
        patients=patients,
        probe=probe.rows,
        references=probe.references,
        sizes=sizes[:_SHOWN_SIZES],
        distinct_sizes=len(sizes),
        file_types=dict(Counter(suffix_of(name) or "none" for name in data.image_ids.tolist())),
        unreadable=len(data.skipped),
        notes=data.notes,
        findings=(),
        worst=worst_pairs(data, part, near),
    )
    return audit.model_copy(update={"findings": tuple(_findings(audit, split))})


def _patients(groups: npt.NDArray[np.str_], labels: Labels, part: npt.NDArray[np.str_]) -> Patients:
    names, group = np.unique(groups, return_inverse=True)
    n = len(names)
    test, validation, train = (any_of(group, part == name, n) for name in ("test", "validation", "train"))
    several = np.bincount(np.unique(np.stack([group, labels]), axis=1)[0], minlength=n) > 1
    return Patients(
        number=n,
        across=int((test & (train | validation)).sum()),
        across_validation=int((validation & train).sum()),
        with_several_labels=int(several.sum()),
    )


def _sizes(data: DataSet) -> tuple[tuple[str, int], ...]:
    """Return native sizes with their numbers of images, the most frequent first."""
    if data.native_sizes is None:
        return ()
    values, counts = np.unique(data.native_sizes, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return tuple((f"{values[k][1]} x {values[k][0]}", int(counts[k])) for k in order)


def _findings(audit: Audit, split: Split) -> Iterator[Finding]:
    """Say in sentences what a reader of the leaderboard must know."""
    n_test = len(split.test)
    for leak in split.leaks:
        yield Finding(level="leak", text=leak)
    more = audit.near.test_images - audit.pixel_identical.test_images
    if more:
        others = " more" if audit.pixel_identical.test_images else ""
        yield Finding(
            level="leak",
            text=f"{more}{others} of {n_test} test images are near-duplicates of training images (the same or the "
            "next slice: brighter, shifted, saved again, mirrored or turned)",
        )
    if audit.near.validation_images:
        yield Finding(
            level="warning",
            text=f"{audit.near.validation_images} of {len(split.validation)} validation images are near-duplicates "
            "of training images: validation scores are optimistic",
        )
    if audit.near.conflicting:
        yield Finding(
            level="warning", text=f"{audit.near.conflicting} groups of copies carry different labels: some are wrong"
        )
    if audit.patients is None:
        yield Finding(
            level="warning", text="patients are unknown: slices of one patient may be in training and in test"
        )
    elif audit.patients.with_several_labels:
        several = audit.patients.with_several_labels
        who = "1 patient carries" if several == 1 else f"{several} patients carry"
        yield Finding(level="warning", text=f"{who} several labels")
    yield from _shortcuts(audit.probe)
    yield from _shifted(audit, split)
    totals = [sum(counts.values()) for counts in audit.balance.values()]
    if max(totals) > _IMBALANCED * min(totals):
        yield Finding(level="warning", text=f"classes are imbalanced: {min(totals)} to {max(totals)} images")
    if audit.unreadable:
        yield Finding(level="warning", text=f"{audit.unreadable} unreadable images were left out")
    for name in split.unscored:
        yield Finding(level="warning", text=f"class {name} has no test images: averages leave it out")


def _shortcuts(probe: tuple[ProbeRow, ...]) -> Iterator[Finding]:
    """Name the strongest trivial feature for each target that one gives away."""
    for target in dict.fromkeys(line.target for line in probe):
        best = max((line for line in probe if line.target == target), key=lambda line: line.balanced_accuracy)
        if best.suspicious:
            what = "the class" if target == "class" else f"'{target}' against the rest"
            yield Finding(
                level="warning",
                text=f"trivial features ({best.features}) predict {what} with balanced accuracy "
                f"{best.balanced_accuracy:.2f} (chance {best.chance:.2f}): a network may use them in place of "
                "the tumour",
            )


def _shifted(audit: Audit, split: Split) -> Iterator[Finding]:
    """Say where classes are not as frequent in training as in test, and what to do about it."""
    if audit.shift() < SHIFTED:
        return
    trained, tested = audit.shares("train"), audit.shares("test")
    most = max(trained, key=lambda name: abs(trained[name] - tested[name]))
    text = (
        f"class shares of training and test are {audit.shift():.2f} apart (total variation distance): {most} is "
        f"{100 * trained[most]:.1f} % of training and {100 * tested[most]:.1f} % of test images, so that validation "
        "does not stand for test"
    )
    if split.removed:
        text += ", and --dedupe is a part of it: --split regroup cuts the parts anew instead"
    yield Finding(level="warning", text=text)
