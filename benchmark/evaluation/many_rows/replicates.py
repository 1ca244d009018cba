"""Bootstrap replicates of all rows, and the spread of the difference of each pair of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.data.preparation.threads import thread_map
from benchmark.evaluation.bootstrap import Estimate
from benchmark.evaluation.metrics import Counts, Floats

_TOGETHER = 64  # pairs whose replicates are held at once: as many as stay in a processor's cache


@dataclass(frozen=True)
class Replicates:
    """The replicates of R rows in B resamples, which are the same for all.

    Args:
        values: float64, shape (R, B); ``nan`` where a score is undefined.
        whole: whether all are defined.
    """

    values: Floats
    whole: bool

    @classmethod
    def of(cls, estimates: Sequence[Estimate]) -> "Replicates":
        """Return the replicates of rows' scores."""
        values = np.stack([estimate.replicates for estimate in estimates])
        return cls(values, not np.isnan(values).any())

    def spreads(self) -> tuple[Floats, Floats]:
        """Return of each pair of rows the mean of the differences over resamples and their standard deviation.

        Pairs stand in the order of :func:`itertools.combinations`; undefined differences are left out. Each of both
        has the shape (M,).
        """
        count = len(self.values)
        starts = np.concatenate([[0], np.cumsum(np.arange(count - 1, 0, -1))])
        means, errors = np.empty(starts[-1]), np.empty(starts[-1])

        def of_row(row: int) -> None:
            for start in range(row + 1, count, _TOGETHER):
                stop = min(start + _TOGETHER, count)
                place = slice(starts[row] + start - row - 1, starts[row] + stop - row - 1)
                means[place], errors[place] = self._spread(self.values[row] - self.values[start:stop])

        thread_map(of_row, range(count - 1))
        return means, errors

    def _spread(self, differences: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation along the second axis of differences, which are overwritten."""
        if not self.whole:
            defined = ~np.isnan(differences)
            enough = defined.sum(axis=1) > 1
            spread = np.zeros(len(differences))
            spread[enough] = [
                line[on].std(ddof=1) for line, on in zip(differences[enough], defined[enough], strict=True)
            ]
            sums = np.where(defined, differences, 0.0).sum(axis=1)
            return np.divide(sums, defined.sum(axis=1), out=np.zeros(len(sums)), where=enough), spread
        resamples = differences.shape[1]
        means = differences.sum(axis=1) / resamples
        differences -= means[:, None]
        np.multiply(differences, differences, out=differences)
        return means, np.sqrt(differences.sum(axis=1) / (resamples - 1)) if resamples > 1 else np.zeros(len(means))

    def deviations(self, first: Counts, second: Counts, means: Floats, errors: Floats) -> Floats:
        """Return of some pairs how far each resample's difference lies from the mean, in standard errors and without
        its sign: shape (k, B); 0 where a pair has no error or no difference.

        Args:
            first, second: numbers of the rows, shape (k,).
            means, errors: as :meth:`spreads` gives them.
        """
        distances = self.values[first]
        distances -= self.values[second]
        distances -= means[:, None]
        if not self.whole:
            np.nan_to_num(distances, copy=False)
        distances /= np.where(errors > 0, errors, np.inf)[:, None]
        return np.abs(distances, out=distances)

    def farthest(self, first: Counts, second: Counts, errors: Floats) -> Floats | None:
        """Return of each pair a bound on :meth:`deviations`, shape (M,): how far the two rows' own replicates spread.

        ``None`` where some are not defined.
        """
        if not self.whole:
            return None
        reach = np.abs(self.values - self.values.mean(axis=1, keepdims=True)).max(axis=1)
        bound = np.divide(reach[first] + reach[second], errors, out=np.zeros(len(errors)), where=errors > 0)
        return np.asarray(bound * (1 + 1e-9))
