"""The best row of each split so far, by which a controller knows which models are worth holding."""

from collections.abc import Sequence

from benchmark.execution.worker.job import Job


class BestRows:
    """The mean macro-F1 of the best row of each split, of those whose seeds are all done, as runs end.

    Args:
        jobs: of the plan; a row is a backbone with a recipe.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._rows: dict[tuple[str, str, str], dict[str, float | None]] = {}
        self._best: dict[str, float] = {}
        for job in jobs:
            self._rows.setdefault(self._row(job), {})[job.key] = None

    @staticmethod
    def _row(job: Job) -> tuple[str, str, str]:
        return job.run.split_hash, job.run.backbone, job.recipe_name

    def take(self, job: Job, macro_f1: float | None) -> None:
        """Take note of how a run ended."""
        row = self._rows[self._row(job)]
        row[job.key] = macro_f1
        scores = [value for value in row.values() if value]
        if len(scores) == len(row):
            split, mean = job.run.split_hash, sum(scores) / len(scores)
            self._best[split] = max(mean, self._best.get(split, mean))

    def mean(self, job: Job, otherwise: float) -> float:
        """Return the best mean on a job's split, or a value where no row is all done."""
        return self._best.get(job.run.split_hash, otherwise)
