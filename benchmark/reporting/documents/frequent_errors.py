"""Which errors rows make most often, and which images all of them get wrong."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from benchmark.evaluation.metrics import Counts, decide
from benchmark.reporting.board.board import BoardRow


def frequent_errors(rows: Sequence[BoardRow]) -> str:
    """Return which errors are most frequent and which images every row gets wrong."""
    counts: dict[tuple[str, ...], Counts] = {}
    shared: set[str] | None = None
    for row in rows:
        for result in row.results:
            if result.scores is not None:
                names, confusion = result.record.data.class_names, result.scores.test.confusion
                counts[names] = counts[names] + confusion if names in counts else confusion
        if shared is None or shared:
            mine = _wrong_images(row)
            shared = mine if shared is None else shared & mine
    confused: Counter[tuple[str, str]] = Counter()
    for names, total in counts.items():
        confused.update({(names[i], names[j]): int(total[i, j]) for i, j in np.argwhere(total) if i != j})
    most = "; ".join(f"{true} called {called} ({count})" for (true, called), count in confused.most_common(3))
    often = f"Most frequent over all runs: {most or 'no error'}."
    how = "Wrong in every row, by some seed" if _several_seeds(rows) else "Wrong in every row"
    return f"{often} {how}: {len(shared or ())} images, see gallery.md."


def _several_seeds(rows: Sequence[BoardRow]) -> bool:
    """Return whether an image is read by several seeds of a row."""
    splits = [[result.record.data.split_hash for result in row.results if result.scores is not None] for row in rows]
    return any(len(set(of_row)) < len(of_row) for of_row in splits)


def _wrong_images(row: BoardRow) -> set[str]:
    """Return the test images that a run of a row gets wrong."""
    image_ids: set[str] = set()
    for result in row.results:
        if result.scores is not None and result.predictions is not None:
            predictions = result.predictions
            wrong = (predictions.parts == "test") & (decide(predictions.probabilities) != predictions.labels)
            image_ids.update(predictions.image_ids[wrong].tolist())
    return image_ids
