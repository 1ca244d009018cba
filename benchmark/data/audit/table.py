"""The audit as a table that fits a terminal."""

from collections.abc import Iterable, Sequence

from benchmark.data.audit.audit import PARTS, Audit
from benchmark.data.duplicates.groups import Duplicates

_WIDTH = 110


def audit_text(found: Audit) -> str:
    """Return the audit for people: findings first, then the figures behind them."""
    blocks = [
        [f"Audit of {found.data}, split {found.split}", f"fingerprint {found.fingerprint[:16]}"],
        _findings(found),
        _table(
            ("copies", "groups", "images", "test and training", "test images", "validation images", "two labels"),
            [
                _copies("byte-identical", found.byte_identical),
                _copies("pixel-identical", found.pixel_identical),
                _copies("near-duplicate", found.near),
            ],
        ),
        [
            "test images: those with a copy in training or validation; validation images: with a copy in training.",
            f"near-duplicate: {found.near_rule}; a group is what such pairs connect, identical images included.",
            "pairs: " + ", ".join(f"{count} {turn}" for turn, count in found.near_pairs.items()) + ".",
        ],
        _patients(found),
        _table(
            ("class", "all", *PARTS),
            [(name, sum(n.values()), *(n[part] for part in PARTS)) for name, n in found.balance.items()],
        ),
        _probe(found),
        [
            "sizes: " + ", ".join(f"{size} ({count})" for size, count in found.sizes) + _more(found),
            "file types: " + ", ".join(f"{name} ({count})" for name, count in sorted(found.file_types.items())),
            f"unreadable files left out: {found.unreadable}",
            *(f"note: {note}" for note in found.notes),
        ],
    ]
    return "\n\n".join("\n".join(line for text in block for line in _wrapped(text)) for block in blocks if block)


def _findings(found: Audit) -> list[str]:
    if not found.findings:
        return ["nothing found"]
    return [f"{finding.level.upper():8}{finding.text}" for finding in found.findings]


def _copies(name: str, copies: Duplicates) -> tuple[str | int, ...]:
    return (
        *(name, copies.groups, copies.images, copies.across),
        *(copies.test_images, copies.validation_images, copies.conflicting),
    )


def _patients(found: Audit) -> list[str]:
    if found.patients is None:
        return ["patients: unknown"]
    known = found.patients
    return [
        f"patients: {known.number}; {known.across} in test and training or validation, {known.across_validation} in "
        f"validation and training, {known.with_several_labels} with several labels"
    ]


def _probe(found: Audit) -> list[str]:
    if not found.probe:
        return ["shortcut probe: too few independent images"]
    rows = [
        (row.features, row.target, f"{row.balanced_accuracy:.3f}", f"{row.chance:.3f}", "!" if row.suspicious else "")
        for row in found.probe
    ]
    return _table(("shortcut probe", "predicts", "balanced accuracy", "chance", ""), rows)


def _more(found: Audit) -> str:
    hidden = found.distinct_sizes - len(found.sizes)
    return f" and {hidden} more" if hidden > 0 else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str | int]]) -> list[str]:
    """Return lines of aligned columns: the first to the left, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(head))]
    return [
        "  ".join(
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]


def _wrapped(line: str) -> list[str]:
    import textwrap

    return textwrap.wrap(line, _WIDTH, subsequent_indent="        ") if len(line) > _WIDTH else [line.rstrip()]
