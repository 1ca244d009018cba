"""The audit as a table that fits a terminal."""

from collections.abc import Iterable, Sequence

from benchmark.data.audit.audit import Audit
from benchmark.data.dataset import PARTS
from benchmark.data.duplicates.groups import Duplicates
from benchmark.text import aligned

_WIDTH = 110


def audit_text(audit: Audit) -> str:
    """Return the audit for people: findings first, then the figures behind them."""
    blocks = [
        [f"Audit of {audit.data}, split {audit.split}", f"fingerprint {audit.fingerprint[:16]}"],
        _findings(audit),
        _table(
            ("copies", "groups", "images", "test and training", "test images", "validation images", "two labels"),
            [
                _copies("byte-identical", audit.byte_identical),
                _copies("pixel-identical", audit.pixel_identical),
                _copies("near-duplicate", audit.near),
            ],
        ),
        [
            "test images: those with such an image in training or validation; validation images: in training.",
            f"near-duplicate: {audit.near_rule}; a group is what such pairs connect, identical images included.",
            "pairs: " + ", ".join(f"{count} {turn}" for turn, count in audit.near_pairs.items()) + ".",
            *near_sentences(audit),
        ],
        _patients(audit),
        _table(
            ("class", "all", *PARTS),
            [(name, sum(n.values()), *(n[part] for part in PARTS)) for name, n in audit.balance.items()],
        ),
        _shares(audit),
        _probe(audit),
        [
            "sizes: " + ", ".join(f"{size} ({count})" for size, count in audit.sizes) + _more(audit),
            "file types: " + ", ".join(f"{name} ({count})" for name, count in sorted(audit.file_types.items())),
            f"unreadable files left out: {audit.unreadable}",
            *(f"note: {note}" for note in audit.notes),
        ],
    ]
    return "\n\n".join("\n".join(line for text in block for line in _wrapped(text)) for block in blocks if block)


def near_sentences(audit: Audit) -> list[str]:
    """Return how near-duplicates are connected: directly, by others only, and as turned images."""
    kinds = audit.near_kinds
    if kinds is None:
        return []
    connected = (
        f"{audit.near.groups} groups of near-duplicates ({kinds.groups_unturned} if turned and mirrored images do "
        f"not count); outside test, {kinds.beside_direct + kinds.beside_chained} images show a slice of the test "
        f"part: {kinds.beside_direct} are near-duplicates of a test image, {kinds.beside_chained} are connected with "
        "one only through other images"
    )
    if not kinds.pairs:
        return [f"{connected}."]
    below = f"{100 * kinds.pairs_below / kinds.pairs:.0f} % of the pairs within groups of three and more"
    return [f"{connected}; {below} are not near-duplicates by themselves."]


def _shares(audit: Audit) -> list[str]:
    """Return the share of each class in each part, and how far the parts are apart."""
    shares = {part: audit.shares(part) for part in PARTS}
    rows = [(name, *(f"{100 * shares[part].get(name, 0.0):.1f} %" for part in PARTS)) for name in audit.balance]
    apart = [("validation", "train"), ("validation", "test"), ("train", "test")]
    shifts = ", ".join(f"{one} and {other} {audit.shift(one, other):.2f}" for one, other in apart)
    distances = f"class shares are apart (total variation distance): {shifts}"
    return [*_table(("class share", *PARTS), rows), distances]


def _findings(audit: Audit) -> list[str]:
    if not audit.findings:
        return ["nothing found"]
    return [f"{finding.level.upper():8}{finding.text}" for finding in audit.findings]


def _copies(name: str, copies: Duplicates) -> tuple[str | int, ...]:
    return (
        *(name, copies.groups, copies.images, copies.across),
        *(copies.test_images, copies.validation_images, copies.conflicting),
    )


def _patients(audit: Audit) -> list[str]:
    if audit.patients is None:
        return ["patients: unknown"]
    patients = audit.patients
    return [
        f"patients: {patients.number}; {patients.across} in test and training or validation, "
        f"{patients.across_validation} in validation and training, {patients.with_several_labels} with several labels"
    ]


def _probe(audit: Audit) -> list[str]:
    if not audit.probe:
        return ["shortcut probe: too few training images of a class"]
    rows = [
        (
            row.features,
            row.target,
            f"{row.balanced_accuracy:.3f}",
            f"{row.chance:.3f}",
            "" if row.p is None else f"{row.p:.3f}",
            "!" if row.suspicious else "",
        )
        for row in audit.probe
    ]
    return _table(("shortcut probe", "predicts", "balanced accuracy", "chance", "p", ""), rows)


def _more(audit: Audit) -> str:
    hidden = audit.distinct_sizes - len(audit.sizes)
    return f" and {hidden} more" if hidden > 0 else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str | int]]) -> list[str]:
    """Return lines of aligned columns: the first to the left, numbers to the right."""
    return aligned([[str(cell) for cell in row] for row in (head, *rows)], numbers=True)


def _wrapped(line: str) -> list[str]:
    import textwrap

    return textwrap.wrap(line, _WIDTH, subsequent_indent="        ") if len(line) > _WIDTH else [line.rstrip()]
