"""Jobs of a cluster's queue: which runs go into one, and those that were submitted for a results folder, as this
user's own files tell of them.

These stand in the cache, which nobody else may write to, and never in the results folder, which may be anybody's: a
job names plug-ins, whose code is run as this user, and its id is what is cancelled.
"""

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.atomic_files import write_atomically
from benchmark.data.preparation.cache import cache_root, make_folder, require_own
from benchmark.errors import UserError
from benchmark.execution.executors.slurm_element import NOW, STOP_FILE, ElementJobs
from benchmark.execution.worker.job import Job

_LIST = "submitted.json"
_LOG_BYTES = 8192  # of a log's end that are read


class _Submitted(BaseModel):
    """What a submission's list holds: when it was made, in seconds since 1970, and the id of each job by its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: float
    jobs: dict[str, Annotated[str, Field(pattern=r"^\d+(_\d+)?$")]]


@dataclass(frozen=True)
class QueuedJob:
    """One job of the queue: an element of an array, with its runs.

    Args:
        id: as the queue has it.
        file: what its element reads.
        work: the same, read.
        at: when it was submitted, in seconds since 1970.
    """

    id: str
    file: Path
    work: ElementJobs
    at: float

    @property
    def jobs(self) -> Mapping[str, Job]:
        """Its runs by their keys."""
        return {job.key: job for job in self.work.jobs}

    @property
    def is_stopped(self) -> bool:
        """Whether the user wanted its end."""
        return self.file.with_name(STOP_FILE).exists()

    def stop(self, *, now: bool) -> None:
        """Let it end after the epoch, or at once; with it all that was submitted together."""
        write_atomically(self.file.with_name(STOP_FILE), NOW if now else "", mode=0o600)

    @property
    def log(self) -> Path:
        """The file that gets what the job prints."""
        return self.file.parent / f"{self.id}_0_log.out"

    def last_words(self) -> str:
        """Return the last line of its log, empty where there is none."""
        with suppress(OSError):
            lines = self.log.read_bytes()[-_LOG_BYTES:].decode("utf-8", errors="replace").splitlines()
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""


def shares(jobs: Sequence[Job], at_once: int | None) -> list[tuple[Job, ...]]:
    """Return the runs of each job of an array: those that can share a worker, each behind the one from which it
    continues. More jobs than can be done at once are made only where workers can't be shared.

    Args:
        jobs: in the order of the plan.
        at_once: how many jobs may go on at a time; ``None`` where there is no such bound.
    """
    roots: dict[str, str] = {}
    chains: dict[str, list[Job]] = {}
    for job in jobs:
        parent = job.run.init_from
        roots[job.key] = root = job.key if parent is None or parent not in roots else roots[parent]
        chains.setdefault(root, []).append(job)
    groups: dict[tuple[object, ...], list[list[Job]]] = {}
    for chain in chains.values():
        groups.setdefault(chain[0].worker_key, []).append(chain)
    parts = max(1, (at_once or 0) // len(groups)) if groups else 1
    made = []
    for group in groups.values():
        for first in range(min(parts, len(group))):
            made.append(tuple(job for chain in group[first::parts] for job in chain))
    return made


def ancestors(share: Sequence[Job], planned: Sequence[Job]) -> list[Job]:
    """Return the runs outside a share from which its runs continue, each behind its own.

    Args:
        share: the runs of one job of the queue.
        planned: all runs of the plan.
    """
    by_key, inside = {job.key: job for job in planned}, {job.key for job in share}
    jobs: dict[str, Job] = {}
    for job in share:
        line = []
        parent = by_key.get(job.run.init_from or "")
        while parent is not None and parent.key not in inside:
            line.append(parent)
            parent = by_key.get(parent.run.init_from or "")
        jobs |= {each.key: each for each in reversed(line)}
    return list(jobs.values())


def folder_of(out: Path) -> Path:
    """Return the folder of all submissions for a results folder; it may not be there."""
    return cache_root() / "slurm" / hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:20]


def new_submission(out: Path) -> Path:
    """Make the folder of one submission, for this user alone to read and write.

    Raises:
        UserError: it can't be made, or others may write there.
    """
    home = make_folder(folder_of(out))
    folder = home / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid4().hex[:6]}"
    folder.mkdir(mode=0o700)
    return folder


def write_list(folder: Path, files: Sequence[Path], ids: Sequence[str]) -> None:
    """Write down which jobs were submitted; raises ``OSError`` where it can't be written."""
    jobs = {file.name: each for file, each in zip(files, ids, strict=True)}
    write_atomically(folder / _LIST, _Submitted(at=time.time(), jobs=jobs).model_dump_json(), mode=0o600)


def submitted_jobs(out: Path) -> list[QueuedJob]:
    """Return all jobs that this user has submitted for a results folder, as far as they are still written down.

    Raises:
        UserError: others may write where they are written down.
    """
    home = folder_of(out)
    if not home.is_dir():
        return []
    require_own(home)
    jobs = []
    for folder in sorted(path for path in home.iterdir() if (path / _LIST).is_file()):
        with suppress(UserError, OSError, ValidationError):
            submitted = _Submitted.model_validate_json((folder / _LIST).read_bytes())
            for name, each in submitted.jobs.items():
                jobs.append(QueuedJob(each, folder / name, ElementJobs.read(folder / name), submitted.at))
    return jobs


def forget(jobs: Sequence[QueuedJob], ended: Sequence[QueuedJob]) -> None:
    """Remove the folders of submissions of which all jobs have ended.

    Args:
        jobs: all that is written down.
        ended: those of them that the queue knows to have ended.
    """
    over = {job.file for job in ended}
    for folder in {job.file.parent for job in jobs}:
        if all(job.file in over for job in jobs if job.file.parent == folder):
            shutil.rmtree(folder, ignore_errors=True)
