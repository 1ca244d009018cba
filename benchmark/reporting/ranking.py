"""Ranks within a block: the only place where one row is said to be better than another."""

import math
from collections.abc import Sequence


def rank_by_score(scores: Sequence[float]) -> list[int]:
    """Rank 1 + the number of rows with a higher score; equal scores share a rank (1, 1, 3).

    Args:
        scores: macro-F1 of the rows of one block, none of them ``nan``.
    """
    return [
        1 + sum(other > own and not math.isclose(other, own, abs_tol=1e-12) for other in scores) for own in scores
    ]
