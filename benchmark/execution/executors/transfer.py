"""What a run needs and leaves as files, carried between the command and a node that shares no folder with it.

The files go in blocks of bytes, which the executor carries as it likes; nothing here knows how. What a node gets it
holds under names that hash its content, so that it gets it once
(:mod:`~benchmark.execution.executors.node_files`); what comes home is read as a stranger's results folder is, and
stored anew.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from benchmark.atomic_files import inside
from benchmark.execution.worker.job import Job
from benchmark.models.keep import FOLDER as MODELS
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Record
from benchmark.records.results_folder import LOGS, RECORDS, WORK
from benchmark.records.store import RecordStore

BLOCK_BYTES = 16 * 2**20
RECEIVED = ".received-"  # how names begin of what has not come whole
_PLACES = (RECORDS[0], "internal", MODELS)  # of a node's results folder, from which files come home
Block = npt.NDArray[np.uint8]


def read_block(path: Path, offset: int) -> Block:
    """Return the bytes of a file from an offset on, at most ``BLOCK_BYTES`` of them."""
    return np.fromfile(path, np.uint8, count=BLOCK_BYTES, offset=offset)


@dataclass(frozen=True)
class Inputs:
    """The files that a run reads, at the command.

    Args:
        images: the folder of the prepared images; beside it lies their ``index``.
        files: all others, each by what it is: ``split``, ``weights``, ``initial``, ``plugin 0`` and so on.
    """

    images: Path
    files: Mapping[str, Path]

    @classmethod
    def of(cls, job: Job) -> "Inputs":
        """Return the inputs of a job."""
        files = {"split": job.split_file}
        files |= {f"plugin {number}": path for number, path in enumerate(job.settings.plugins)}
        if job.weights.path is not None:
            files["weights"] = job.weights.path
        if job.initial_weights is not None and job.initial_weights.is_file():  # else the worker says so
            files["initial"] = job.initial_weights
        return cls(job.data_folder, files)

    @property
    def images_name(self) -> str:
        """The name of the images below a cache's folder ``data``, alike on every machine."""
        return f"{self.images.parent.name}/{self.images.name}"

    def of_images(self) -> dict[str, Path]:
        """Return the files of the images, by their names below the folder of the data set."""
        folders = (self.images.parent / "index", self.images)
        return {f"{home.name}/{file.name}": file for home in folders for file in sorted(home.iterdir())}


class Arrivals:
    """The files of one run on their way home, in the run's own folder of the results.

    Args:
        job: as the command planned it.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        for left in job.work.glob(f"{RECEIVED}*"):  # by a command that was killed: who is here has the run's claim
            shutil.rmtree(left, ignore_errors=True)
        self.folder = inside(job.out, *WORK, job.work.name, f"{RECEIVED}{uuid4().hex}")

    def add(self, name: str, block: Block) -> None:
        """Add a block to a file.

        Raises:
            OSError: the disk is full.
            ValueError: the name leads elsewhere than a run may leave files.
        """
        parts = parts_of(name)
        if parts[0] not in _PLACES:
            raise ValueError(f"a node sent '{name}'")
        with inside(self.folder, *parts).open("ab") as stream:
            stream.write(block.data)

    def store(self) -> Record | None:
        """Store what came: the record as any is stored, then the log, the model, the weights for others; return the
        record, ``None`` where there is none.

        Raises:
            OSError: the disk is full.
        """
        job = self._job
        arrived = RecordStore(self.folder)
        record = arrived.last_try(job.key)
        if record is not None:
            if job.keep_final and record.outcome is Outcome.OK:
                self._move(job.model_copy(update={"out": self.folder}).final_weights, job.final_weights)
            self._take_model(record)
            plugins = {"plugins": job.settings.plugins}  # as they were named, and not as the node has them
            settings = record.settings and record.settings.model_copy(update=plugins)
            RecordStore(job.out).write(
                record.model_copy(update={"settings": settings}),
                arrived.predictions(record),
                arrived.cams(record),
                arrived.corrupted(record),
            )
        log = job.model_copy(update={"out": self.folder}).log
        if log.is_file():
            self._move(log, inside(job.out, *LOGS, job.log.name))
        return record

    def remove(self) -> None:
        """Remove what is left of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _take_model(self, record: Record) -> None:
        named = str(record.provenance.get("model", ""))
        came = self.folder / named
        if not named.startswith(f"{MODELS}/") or len(parts_of(named)) != 2 or not came.is_dir():
            return
        final = inside(self._job.out, *parts_of(named))
        shutil.rmtree(final, ignore_errors=True)
        came.replace(final)

    @staticmethod
    def _move(came: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        came.replace(target)


def blocks_of(size: int) -> Iterator[int]:
    """Yield the offsets of a file's blocks; one for an empty file."""
    yield from range(0, max(1, size), BLOCK_BYTES)


def parts_of(name: str) -> tuple[str, ...]:
    """Return the parts of a relative name; raises ``ValueError`` where it leads out of its folder."""
    parts = PurePosixPath(name).parts
    if not parts or any(part in ("/", "..") for part in parts) or "\\" in name:
        raise ValueError(f"'{name}' leads out of its folder")
    return parts
