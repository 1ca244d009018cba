"""Results folders of earlier versions, which kept at the top what now stands below ``internal/``."""

import shutil
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from benchmark.atomic_files import inside
from benchmark.errors import UserError
from benchmark.execution.claims import LEASE_SECONDS, read_claim
from benchmark.foreign_files import is_own_folder
from benchmark.host import lives, this_machine
from benchmark.records.results_folder import CLAIMS, MOVED, has_old_layout

_LOCK = ".moving.lock"
_LONGEST_SILENCE = 10 * LEASE_SECONDS  # of a claim from another machine, whose clock may be another


def take_over(out: Path) -> None:
    """Move what an earlier version left in a results folder to where this one looks for it: checkpoints, logs and
    failures. Its claims are dropped. A folder of this version is left as it is.

    Raises:
        UserError: a command of the earlier version is working there.
        OSError: the folder can't be written.
    """
    if not has_old_layout(out):
        return
    lock = out / _LOCK
    with FileLock(lock):
        if has_old_layout(out):  # nobody else did it meanwhile
            _require_idle(out)
            _move(out)
    with suppress(OSError):
        lock.unlink(missing_ok=True)


def _require_idle(out: Path) -> None:
    """Raise ``UserError`` where a claim of the earlier version stands."""
    for path in out.joinpath(CLAIMS[-1]).glob("*.claim"):
        holder, busy = read_claim(path)[1], False
        if holder is not None and holder.machine == this_machine():
            busy = lives(holder.pid, holder.started) is not False
        else:
            with suppress(OSError):
                busy = time.time() - path.stat().st_mtime < _LONGEST_SILENCE
        if busy:
            raise UserError(
                f"An earlier version of TumorBoard is working in '{out}' ({holder or 'on another machine'}): wait "
                "until it has ended, or give another folder by --out."
            )


def _move(out: Path) -> None:
    for place in MOVED:
        old = out / place[-1]
        if not is_own_folder(old):
            continue
        if place == CLAIMS:
            shutil.rmtree(old, ignore_errors=True)
            continue
        old.rename(inside(out, *place))
