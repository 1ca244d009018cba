"""Claims: who is doing a run, so that several commands on one results folder share the work.

A claim is a small file that only one command can make (``O_EXCL``, which shared file systems keep, unlike locks). It
names its holder, and a heartbeat in it moves every few seconds. It is stale

- on the same machine: as soon as the holder's process is gone;
- from another machine, or where the process's number was given to another: when the heartbeat has not moved for
  the lease that the claim itself states (60 s), by the clock of the one who looks, so that clocks need not agree.

A stale claim is never removed, which two could do at once: its successor is made, in a file that bears the token of
the stale one, and of that too there can be one only. The standing claim is the last of this chain; its holder alone
deletes the chain, beginning with the root. A holder that was only suspended finds its successor at the next
heartbeat, and gives the run up.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmark.host import lives, started_at, this_machine
from benchmark.records.results_folder import CLAIMS
from benchmark.records.store import short

LEASE_SECONDS = 60.0
BEATS = 6  # of the heart in one lease
_LONGEST_LEASE = 3600.0
_FILE_BYTES = 2048  # of one length, so that a heartbeat is one write in place
_LONGEST_CHAIN = 100


@dataclass(frozen=True)
class Holder:
    """Who has a claim.

    Args:
        machine: the name of the machine (:func:`~benchmark.host.this_machine`).
        pid, started: the id of the process there, and when it began, in seconds since 1970.
        token: a name that no other claim has.
        lease: the seconds without a heartbeat after which the claim is stale.
        beat: the number of heartbeats so far.
    """

    machine: str
    pid: int
    started: float
    token: str
    lease: float
    beat: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.machine.partition(' ')[0]}"


@dataclass
class _Held:
    holder: Holder
    path: Path
    descriptor: int
    lost: bool = False


class Claims:
    """The claims that this process holds in a results folder. Close it to stop their heartbeats.

    Args:
        out: the results folder.
        lease: the seconds after which others may take over a claim without a heartbeat.
        on_lost: is called, in the heartbeat's thread, with the key of a run that another command took over.
        clock: returns seconds that never go back.
        machine: the name of this machine, by default :func:`~benchmark.host.this_machine`.
    """

    def __init__(
        self,
        out: Path,
        lease: float = LEASE_SECONDS,
        on_lost: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        machine: str | None = None,
    ) -> None:
        self._folder, self._lease, self._on_lost, self._clock = out.joinpath(*CLAIMS), lease, on_lost, clock
        self._machine, self._started = machine or this_machine(), started_at()
        self._held: dict[str, _Held] = {}
        self._before: dict[str, Holder] = {}
        self._seen: dict[str, tuple[bytes, float]] = {}  # what a claim said last, and since when
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._heart: threading.Thread | None = None

    def take(self, key: str) -> bool:
        """Claim a run; return ``False`` where another command has it and is not known to be gone.

        Raises:
            OSError: the folder can't be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        chain = self._chain(key)
        if chain and not self._is_stale(key, chain[-1]):
            return False
        gone = read_claim(chain[-1])[1] if chain else None
        target = self._successor(chain[-1]) if chain else self._root(key)
        if not self._create(key, target):
            return False
        if self._chain(key)[-1:] == [target]:
            self._seen.pop(key, None)
            self._before.pop(key, None)
            if gone is not None:
                self._before[key] = gone
            return True
        self._drop(key, [target])  # the chain that this one followed ended meanwhile
        return False

    def holder(self, key: str) -> Holder | None:
        """Return who has a run, ``None`` where nobody has it or it can't be read just now."""
        chain = self._chain(key)
        return read_claim(chain[-1])[1] if chain else None

    def taken_from(self, key: str) -> Holder | None:
        """Return whose stale claim this process took over, ``None`` where it took none."""
        return self._before.get(key)

    def lost(self, key: str) -> bool:
        """Return whether a run that this process claimed was taken over by another command."""
        held = self._held.get(key)
        return held is not None and held.lost

    def release(self, key: str) -> None:
        """Give a claim back, if it is held."""
        held = self._held.get(key)
        if held is None:
            return
        chain = self._chain(key)
        self._drop(key, chain if chain[-1:] == [held.path] else [])

    def close(self) -> None:
        """Give back all claims and stop their heartbeats."""
        self._closing.set()
        if self._heart is not None:
            self._heart.join()
        for key in list(self._held):
            self.release(key)

    def beat(self) -> None:
        """Move the heartbeat of every claim; find out which were taken over. The thread does this by itself."""
        for key, held in list(self._held.items()):
            if held.lost:
                continue
            chain = self._chain(key)
            if chain and chain[-1] != held.path:
                held.lost = True
                self._on_lost(key)
                continue
            with self._lock:
                if self._held.get(key) is held:
                    held.holder = Holder(**{**asdict(held.holder), "beat": held.holder.beat + 1})
                    with suppress(OSError):  # a full or absent disk: the claim may go stale, the run goes on
                        _write(held.descriptor, held.holder)

    # --- the chain ---

    def _root(self, key: str) -> Path:
        return self._folder / f"{short(key)}.claim"

    def _successor(self, path: Path) -> Path:
        """Return where the successor of a claim is made."""
        root = path.name.partition(".")[0]
        token = read_claim(path)[1]
        return path.with_name(f"{root}.{token.token if token else 'unreadable'}.claim")

    def _chain(self, key: str) -> list[Path]:
        """Return the claims on a run, each the successor of the one before, the standing one last."""
        path = self._root(key)
        chain: list[Path] = []
        while path.exists() and path not in chain and len(chain) < _LONGEST_CHAIN:
            chain.append(path)
            path = self._successor(path)
        return chain

    def _is_stale(self, key: str, path: Path) -> bool:
        content, holder = read_claim(path)
        if holder is not None and holder.machine == self._machine:
            alive = lives(holder.pid, holder.started)
            if alive is not None:
                return not alive
        before, since = self._seen.get(key, (b"", 0.0))
        if key not in self._seen or before != content:
            self._seen[key] = (content, self._clock())
            return False
        return self._clock() - since > (holder.lease if holder else self._lease)

    def _create(self, key: str, path: Path) -> bool:
        """Make a claim; return ``False`` where another command was first."""
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        holder = Holder(self._machine, os.getpid(), self._started, uuid4().hex, self._lease)
        try:
            _write(descriptor, holder)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        with self._lock:
            self._held[key] = _Held(holder, path, descriptor)
        if self._heart is None:
            self._heart = threading.Thread(target=self._live, daemon=True, name="heartbeat")
            self._heart.start()
        return True

    def _drop(self, key: str, paths: list[Path]) -> None:
        with self._lock:
            held = self._held.pop(key)
            os.close(held.descriptor)
        for path in paths:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _live(self) -> None:
        while not self._closing.wait(self._lease / BEATS):
            self.beat()


@dataclass(frozen=True)
class Standing:
    """A claim, as who only looks sees it.

    Args:
        holder: who has it.
        alive: whether its holder is there, as far as can be seen from here: by the clocks of this machine and of the
            file system, where it is on another machine.
    """

    holder: Holder
    alive: bool


def standing_claims(out: Path) -> dict[str, Standing]:
    """Return the standing claims of a results folder, by the short forms of the runs' keys; nothing is changed."""
    claims, standing = Claims(out), {}
    for root in sorted(out.joinpath(*CLAIMS).glob("*.claim")):
        name, _, suffix = root.name.partition(".")
        if suffix != "claim":  # a successor, which its root leads to
            continue
        with suppress(OSError):
            path = claims._chain(name)[-1]
            holder = read_claim(path)[1]
            if holder is not None:
                beat_s = max(0.0, time.time() - path.stat().st_mtime)
                here = lives(holder.pid, holder.started) if holder.machine == this_machine() else None
                standing[name] = Standing(holder, beat_s <= holder.lease if here is None else here)
    return standing


def _write(descriptor: int, holder: Holder) -> None:
    text = json.dumps(asdict(holder)).encode("ascii").ljust(_FILE_BYTES - 1) + b"\n"
    os.pwrite(descriptor, text, 0)
    os.fsync(descriptor)  # another host sees it then


def read_claim(path: Path) -> tuple[bytes, Holder | None]:
    """Return what a claim says, and as a record where it can be read as one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)  # a pipe is not waited for
        try:
            content = os.read(descriptor, _FILE_BYTES)
        finally:
            os.close(descriptor)
        values: dict[str, Any] = json.loads(content)
        holder = Holder(**values)
        sound = (
            isinstance(holder.machine, str) and type(holder.pid) is int and 0 < holder.pid < 2**31
            and isinstance(holder.started, (int, float)) and isinstance(holder.token, str)
            and holder.token.isalnum() and len(holder.token) <= 64
            and isinstance(holder.lease, (int, float)) and 0 < holder.lease <= _LONGEST_LEASE
        )  # fmt: skip
        return content, holder if sound else None
    except OSError:
        return b"", None
    except (ValueError, TypeError, RecursionError):
        return content, None
