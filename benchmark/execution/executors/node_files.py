"""What a Ray node that shares no folder with the command holds for its runs, and who there still needs it.

All of it lies in a folder of the command's: what its runs read (``inputs``), what they leave, and a file for each
process that works with it (``owners``). The last owner that leaves removes the inputs; where none left, as all were
killed, the next process that begins on the node does. Checkpoints of runs that are not done stay for the same
command to go on from, and go when nobody has come for them for two weeks.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock

from benchmark.atomic_files import inside, write_atomically
from benchmark.data.preparation.cache import cache_root, make_folder
from benchmark.errors import UserError
from benchmark.execution.executors.transfer import RECEIVED, Block, parts_of, read_block
from benchmark.execution.worker.job import Job
from benchmark.hashing import hash_file
from benchmark.host import lives, started_at, this_machine
from benchmark.models.keep import FOLDER as MODELS
from benchmark.ownership import make_private
from benchmark.records.outcomes import Outcome
from benchmark.records.results_folder import FAILED, RECORDS
from benchmark.records.store import RecordStore, short

_INPUTS, _OWNERS = "inputs", "owners"
_OWNER_NAME = re.compile(r"[0-9a-f]{32}\.json")
_UNSEEN_SECONDS = 7 * 86_400.0  # without a new run, after which an owner on another machine is taken for gone
_MOVED_SECONDS = 86_400.0  # in which images are surely moved from one disk to another
_KEPT_SECONDS = 14 * 86_400.0  # for which checkpoints are kept that nobody comes for


class NodeFiles:
    """What a node that shares nothing with the command holds for its runs, as one process there uses it.

    Args:
        scratch: a folder of the node in which one is made for this, or ``None`` for its cache.
        command: a name of the command's results folder that no other has.

    Raises:
        UserError: the folder can't be written, or others may write there.
    """

    def __init__(self, scratch: Path | None, command: str) -> None:
        self._home = cache_root() / "cluster" if scratch is None else scratch / "tumorboard-cluster"
        try:
            make_private(self._home)
        except OSError as error:
            why = error.strerror or error
            raise UserError(f"'{self._home}' can't be made ({why}): name another scratch folder.") from None
        self.out = self._home / command
        self._inputs = self.out / _INPUTS
        self._owner = self.out / _OWNERS / f"{uuid4().hex}.json"
        with self._locked():
            for folder in (self.out, self._inputs, self._owner.parent):
                make_folder(folder)
            write_atomically(self._owner, json.dumps([this_machine(), os.getpid(), started_at()]), mode=0o600)
            self._tidy()

    def leave(self) -> None:
        """Say that this process needs nothing of it any more; what nobody needs is removed."""
        with suppress(OSError), self._locked():
            self._owner.unlink(missing_ok=True)
            self._tidy()

    def _locked(self) -> FileLock:
        """Return the lock under which owners come and go: none finds inputs that are being removed."""
        return FileLock(self._home / f".tumorboard-{os.geteuid()}.lock")

    def _tidy(self) -> None:
        """Remove the inputs of commands without an owner, and all of a command's that has nothing else, or for which
        nobody has come for long. What another user put here is left alone.
        """
        for owners in self._home.glob(f"*/{_OWNERS}"):
            folder = owners.parent
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid() or any(map(_is_needed, owners.iterdir())):
                continue
            idle = time.time() - owners.stat().st_mtime
            shutil.rmtree(folder / _INPUTS, ignore_errors=True)
            if idle > _KEPT_SECONDS or not any(each.is_file() for each in folder.rglob("*")):
                shutil.rmtree(folder, ignore_errors=True)

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
        path = inside(self._inputs, f"{RECEIVED}{parcel}", *parts_of(name))
        with path.open("ab") as stream:
            stream.write(block.data)

    def unpack_file(self, parcel: str, name: str) -> None:
        """Put a parcel with one file in its place, where it is what its name says.

        Raises:
            ValueError: it is not.
        """
        folder = self._inputs / f"{RECEIVED}{parcel}"
        target = self._input(name)
        came = folder.joinpath(*parts_of(name))
        if hash_file(came) != name.partition("/")[0]:
            raise ValueError(f"'{target.name}' did not come whole")
        target.parent.mkdir(parents=True, exist_ok=True)
        came.replace(target)
        shutil.rmtree(folder, ignore_errors=True)

    def unpack_images(self, parcel: str, name: str) -> None:
        """Put a parcel with prepared images into the node's cache, where nothing is lost if they came meanwhile."""
        folder = self._inputs / f"{RECEIVED}{parcel}"
        home = make_folder(cache_root() / "data" / parts_of(name)[0])
        for left in home.glob(f"{RECEIVED}*"):  # of a process that was killed while it moved them
            with suppress(OSError):  # another has removed it this moment
                if time.time() - left.stat().st_mtime > _MOVED_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)
        for part in ("index", parts_of(name)[1]):  # the pixels last: they say that all is there
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
        with suppress(OSError):
            os.utime(self._owner)  # for other machines, where the folder is shared by several
        plugins = tuple(self._input(names[f"plugin {number}"]) for number in range(len(job.settings.plugins)))
        weights = job.weights
        if "weights" in names:
            weights = weights.model_copy(update={"path": self._input(names["weights"])})
        own = job.model_copy(
            update={
                "out": self.out,
                "data_folder": cache_root().joinpath("data", *parts_of(names["images"])),
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
        return self._inputs.joinpath(*parts_of(name))

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
        return read_block(self.out.joinpath(*parts_of(name)), offset)

    def forget(self, job: Job, *, done: bool) -> None:
        """Remove what a run has left here; its checkpoints only where it is done."""
        here = job.model_copy(update={"out": self.out})
        record = RecordStore(self.out).read(job.key)
        if record is not None and str(record.provenance.get("model", "")).startswith(f"{MODELS}/"):
            shutil.rmtree(self.out.joinpath(*parts_of(str(record.provenance["model"]))), ignore_errors=True)
        for place in (RECORDS, FAILED):
            shutil.rmtree(self.out.joinpath(*place, short(job.key)), ignore_errors=True)
        if done:
            shutil.rmtree(here.work, ignore_errors=True)
            here.log.unlink(missing_ok=True)


def _is_needed(owner: Path) -> bool:
    """Return whether the process lives that wrote a file of an owner; the file of one that is gone is removed.

    What has another name is not ours, and whoever put it there may need it.
    """
    if not _OWNER_NAME.fullmatch(owner.name):
        return True
    try:
        machine, pid, began = json.loads(owner.read_text(encoding="utf-8"))
        if machine == this_machine():
            needed = lives(int(pid), float(began)) is True
        else:
            needed = time.time() - owner.stat().st_mtime < _UNSEEN_SECONDS
    except (OSError, ValueError, TypeError):
        needed = False
    if not needed:
        owner.unlink(missing_ok=True)
    return needed


def _move(source: Path, target: Path) -> None:
    """Move a folder, also to another disk; it appears whole."""
    near = target.with_name(f"{RECEIVED}{uuid4().hex}")
    try:
        shutil.move(source, near)
        for file in near.iterdir():
            file.chmod(0o644)
        near.rename(target)
    finally:
        shutil.rmtree(near, ignore_errors=True)
