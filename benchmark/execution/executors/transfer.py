"""What a run needs and leaves as files, carried between the command and a node that shares no folder with it.

The files go in blocks of bytes, which the executor carries as it likes; nothing here knows how. What a node gets is
kept there under names that hash its content, so that it gets it once; what comes home is read as a stranger's results
folder is, and stored anew.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from benchmark.atomic_files import inside
from benchmark.data.preparation.cache import cache_root, make_folder
from benchmark.execution.worker.job import Job
from benchmark.hashing import hash_file
from benchmark.models.keep import FOLDER as MODELS
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Record
from benchmark.records.results_folder import FAILED, LOGS, RECORDS, WORK
from benchmark.records.store import RecordStore, short

BLOCK_BYTES = 16 * 2**20
_RECEIVED = ".received-"  # how names begin of what has not come whole
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


class Hashes:
    """The hashes of files, each computed once while it does not change."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int, int], str] = {}

    def of(self, path: Path) -> str:
        """Return the SHA-256 of a file; raises ``OSError`` where it can't be read."""
        status = path.stat()
        key = path, status.st_size, status.st_mtime_ns
        if key not in self._known:
            self._known[key] = hash_file(path)
        return self._known[key]


class NodeFiles:
    """What a node that shares nothing with the command holds for its runs.

    Args:
        scratch: a folder of the node for this, or ``None`` for one in its cache.
        command: a name of the command's results folder that no other has.
    """

    def __init__(self, scratch: Path | None, command: str) -> None:
        home = scratch or cache_root() / "cluster"
        self.out = home / command
        self._inputs = home / "inputs"
        for folder in (self.out, self._inputs):
            make_folder(folder)

    # --- what comes to the node ---

    def has_images(self, name: str) -> bool:
        """Return whether the node's cache has prepared images of a name."""
        return (cache_root() / "data" / name).is_dir()

    def has_file(self, name: str) -> bool:
        """Return whether a file came here before; its name begins with the hash of its content."""
        return self._input(name).is_file()

    def receive(self, parcel: str, name: str, block: Block) -> None:
        """Add a block to a file of a parcel that is coming; raises ``OSError`` where the disk is full.

        Args:
            parcel: a name of letters and digits that no other has.
            name: of the file in it.
        """
        path = inside(self._inputs, f"{_RECEIVED}{parcel}", *_parts(name))
        with path.open("ab") as stream:
            stream.write(block.data)

    def unpack_file(self, parcel: str, name: str) -> None:
        """Put a parcel with one file in its place, where it is what its name says.

        Raises:
            ValueError: it is not.
        """
        folder = self._inputs / f"{_RECEIVED}{parcel}"
        target = self._input(name)
        came = folder.joinpath(*_parts(name))
        if hash_file(came) != name.partition("/")[0]:
            raise ValueError(f"'{target.name}' did not come whole")
        target.parent.mkdir(parents=True, exist_ok=True)
        came.replace(target)
        shutil.rmtree(folder, ignore_errors=True)

    def unpack_images(self, parcel: str, name: str) -> None:
        """Put a parcel with prepared images into the node's cache, where nothing is lost if they came meanwhile."""
        folder = self._inputs / f"{_RECEIVED}{parcel}"
        home = cache_root() / "data" / _parts(name)[0]
        make_folder(home)
        for part in ("index", _parts(name)[1]):  # the pixels last: they say that all is there
            target = home / part
            with suppress(OSError):  # another has put it there this moment
                if not target.exists():
                    _move(folder / part, target)
        shutil.rmtree(folder, ignore_errors=True)

    def localized(self, job: Job, names: Mapping[str, str]) -> Job:
        """Return a job as the node's worker must have it.

        Args:
            job: as the command planned it.
            names: those of its files here, by what they are; and ``images``.
        """
        plugins = tuple(self._input(names[f"plugin {number}"]) for number in range(len(job.settings.plugins)))
        weights = job.weights
        if "weights" in names:
            weights = weights.model_copy(update={"path": self._input(names["weights"])})
        own = job.model_copy(
            update={
                "out": self.out,
                "data_folder": cache_root().joinpath("data", *_parts(names["images"])),
                "split_file": self._input(names["split"]),
                "settings": job.settings.model_copy(update={"plugins": plugins}),
                "weights": weights,
            }
        )
        for folder in (own.work.parent, own.log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        if own.initial_weights is not None and "initial" in names:
            own.initial_weights.parent.mkdir(exist_ok=True)
            shutil.copyfile(self._input(names["initial"]), own.initial_weights)
        return own

    def _input(self, name: str) -> Path:
        return self._inputs.joinpath(*_parts(name))

    # --- what leaves it ---

    def left_by(self, job: Job) -> dict[str, int]:
        """Return the files that a run has left for the command, with their sizes, by their names below ``out``."""
        folders = [self.out.joinpath(*place, short(job.key)) for place in (RECORDS, FAILED)]
        record = RecordStore(self.out).last_try(job.key)
        if record is not None and record.outcome is Outcome.OK:
            folders.append(self.out / str(record.provenance.get("model", MODELS)))
        files = [file for folder in folders if folder != self.out / MODELS and folder.is_dir()
                 for file in sorted(folder.rglob("*")) if file.is_file()]  # fmt: skip
        here = job.model_copy(update={"out": self.out})
        files += [file for file in (here.log, *[here.final_weights] * job.keep_final) if file.is_file()]
        return {file.relative_to(self.out).as_posix(): file.stat().st_size for file in files}

    def read(self, name: str, offset: int) -> Block:
        """Return a block of a file that a run has left."""
        return read_block(self.out.joinpath(*_parts(name)), offset)

    def forget(self, job: Job, *, done: bool) -> None:
        """Remove what a run has left here; its checkpoints only where it is done."""
        here = job.model_copy(update={"out": self.out})
        record = RecordStore(self.out).read(job.key)
        if record is not None and str(record.provenance.get("model", "")).startswith(f"{MODELS}/"):
            shutil.rmtree(self.out.joinpath(*_parts(str(record.provenance["model"]))), ignore_errors=True)
        for place in (RECORDS, FAILED):
            shutil.rmtree(self.out.joinpath(*place, short(job.key)), ignore_errors=True)
        if done:
            shutil.rmtree(here.work, ignore_errors=True)
            here.log.unlink(missing_ok=True)


class Arrivals:
    """The files of one run on their way home, in the run's own folder of the results.

    Args:
        job: as the command planned it.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self.folder = inside(job.out, *WORK, job.work.name, f"{_RECEIVED}{uuid4().hex}")

    def add(self, name: str, block: Block) -> None:
        """Add a block to a file.

        Raises:
            OSError: the disk is full.
            ValueError: the name leads elsewhere than a run may leave files.
        """
        parts = _parts(name)
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
        if not named.startswith(f"{MODELS}/") or len(_parts(named)) != 2 or not came.is_dir():
            return
        final = inside(self._job.out, *_parts(named))
        shutil.rmtree(final, ignore_errors=True)
        came.replace(final)

    @staticmethod
    def _move(came: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        came.replace(target)


def blocks_of(size: int) -> Iterator[int]:
    """Yield the offsets of a file's blocks; one for an empty file."""
    yield from range(0, max(1, size), BLOCK_BYTES)


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a relative name; raises ``ValueError`` where it leads out of its folder."""
    parts = PurePosixPath(name).parts
    if not parts or any(part in ("/", "..") for part in parts) or "\\" in name:
        raise ValueError(f"'{name}' leads out of its folder")
    return parts


def _move(source: Path, target: Path) -> None:
    """Move a folder, also to another disk; it appears whole."""
    near = target.with_name(f"{_RECEIVED}{uuid4().hex}")
    try:
        shutil.move(source, near)
        for file in near.iterdir():
            file.chmod(0o644)
        near.rename(target)
    finally:
        shutil.rmtree(near, ignore_errors=True)
