"""Seeds that follow by themselves (``--seed auto``): where training took little, two more tell how much it varies.

Seed 0 of all rows comes first. Whether more follow is decided by the training time in the records, so that the same
command, given again, decides the same.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from benchmark.execution.planning.plan import Plan
from benchmark.execution.planning.request import PHANTOM, Request
from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome
from benchmark.records.store import RecordStore

QUICK_SECONDS = 60.0  # of training, in each fold
FURTHER_SEEDS = (1, 2)  # three in all: from so many on, the bootstrap of a score draws seeds too


def seeds_follow(request: Request) -> bool:
    """Return whether seeds may follow: none was named, a suite has its own, and the phantom is a demonstration."""
    return not (request.seeds or request.suite or PHANTOM in (request.data.source, *request.cross))


def further_seeds(plan: Plan, request: Request) -> Plan:
    """Return the runs that follow those of a plan, which are over: of each row that trained quickly, by its records.

    Runs that choose a learning rate have none: each is several trainings already.
    """
    if not seeds_follow(request):
        return replace(plan, jobs=())
    store = RecordStore(plan.out)

    def trained(job: Job) -> float | None:
        record = store.read(job.key)
        return record.timings.training_s if record is not None and record.outcome is Outcome.OK else None

    jobs = (follower for _, follower in followers(plan.jobs, trained) if is_wanted(follower, request, store))
    return replace(plan, jobs=tuple(jobs))


def is_wanted(follower: Job, request: Request, store: RecordStore) -> bool:
    """Return whether a run may follow: none begins where what is there is to be measured anew, or tried again."""
    return not (request.rerun_speeds or request.only_failed) or store.last_try(follower.key) is not None


def following(further: Plan) -> str:
    """Return what a user is told of the runs that follow; at least one."""
    names = dict.fromkeys(job.run.backbone for job in further.jobs)
    seeds = " and ".join(map(str, FURTHER_SEEDS))
    return (
        f"Trained in under a minute: {', '.join(names)}. Seeds {seeds} follow, as they cost little and tell how much "
        "training varies; --seed 0 leaves them out."
    )


def followers(jobs: Iterable[Job], trained: Callable[[Job], float | None]) -> Iterator[tuple[Job, Job]]:
    """Yield the runs that follow, each after the run of seed 0 that it repeats: where every fold of a row trains in
    less than a minute, so that no fold of it lacks a seed.

    Args:
        jobs: of seed 0.
        trained: returns the seconds that a run's training takes; ``None`` where that is not known.
    """
    rows: dict[str, list[Job]] = {}
    for job in jobs:
        if not job.run.recipe.tuning.learning_rates:
            rows.setdefault(_row(job), []).append(job)
    for row in rows.values():
        if all((seconds := trained(job)) is not None and seconds < QUICK_SECONDS for job in row):
            for seed in FURTHER_SEEDS:
                yield from ((job, job.model_copy(update={"run": replace(job.run, seed=seed)})) for job in row)


def _row(job: Job) -> str:
    """Return what all folds of a row share."""
    run = job.run if job.data.folds is None else replace(job.run, split_hash="", images_hash="")
    return run.key
