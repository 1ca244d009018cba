"""Figures that were drawn before, kept in this user's cache by all that they are drawn from."""

from collections.abc import Callable, Sequence
from dataclasses import astuple
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.atomic_files import write_atomically
from benchmark.evaluation.many_rows.kept_statistics import NOTHING_KEPT, KeptStatistics
from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.figures.fonts import families
from benchmark.reporting.figures.style import COLUMN_MM, figure, save

_KINDS = ("png", "svg")
_CODE = tuple(f"benchmark.reporting.{room}" for room in ("board", "documents", "figures"))  # which draw


class KeptFigures:
    """Figures by what they show.

    Args:
        kept: where they are kept.
    """

    def __init__(self, kept: KeptStatistics = NOTHING_KEPT) -> None:
        self._kept = kept

    def saved(
        self,
        folder: Path,
        stem: str,
        draw: Callable[[Any], None],
        shown: Sequence[Any] | None,
        width_mm: float = COLUMN_MM,
    ) -> list[Path]:
        """Write a figure as ``stem.png`` and ``stem.svg``, drawn only where it was not before; return both paths.

        Args:
            draw: draws it.
            shown: all that the drawing follows from, arrays and what JSON can say; ``None`` where that is not known,
                so that it is drawn.
        """
        key = None if shown is None else self._kept.key("figure", _drawn_with(), width_mm, *shown, code=_CODE)
        entry = None if key is None else self._kept.find(key)
        if entry is not None and all(kind in entry[1] for kind in _KINDS):
            return [write_atomically(folder / f"{stem}.{kind}", entry[1][kind].tobytes()) for kind in _KINDS]
        with figure(width_mm=width_mm) as made:
            draw(made)
            paths = save(made, folder, stem)
        if key is not None:
            content = {path.suffix[1:]: np.frombuffer(path.read_bytes(), dtype=np.uint8) for path in paths}
            self._kept.keep(key, {}, content)
        return paths


def _drawn_with() -> list[str]:
    libraries = (f"{name} {version(name)}" for name in ("matplotlib", "pillow", "contourpy"))
    return [*libraries, *families()]


def what_rows_show(rows: Sequence[BoardRow]) -> list[Any] | None:
    """Return all that a figure of some rows can follow from; ``None`` where the files of a run are not known, as of
    the mean of several.
    """
    if not all(result.content for row in rows for result in row.results):
        return None
    return [
        [
            [row.values, row.spread, sorted((name, astuple(ends)) for name, ends in row.intervals.items())],
            [astuple(row.block), None if row.chance is None else astuple(row.chance)],  # no figure shows ranks
            [[run.content, run.record.data.class_names, str(run.status)] for run in row.results],
        ]
        for row in rows
    ]
