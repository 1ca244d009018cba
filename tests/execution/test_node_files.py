"""What nodes of a cluster hold for runs: gone when nobody needs it, and waited for where it shows late."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.execution.executors.node_files import NodeFiles
from benchmark.execution.executors.ray_carrier import until_seen
from benchmark.execution.executors.ray_slot import shares_folders
from benchmark.hashing import hash_bytes
from benchmark.records.outcomes import Outcome
from benchmark.records.store import RecordStore
from tests.execution.samples import some_predictions
from tests.execution.test_job import a_job

HOME = "tumorboard-cluster"
BLOCK = np.frombuffer(b"a split", np.uint8)
NAME = f"{hash_bytes(b'a split')}/split.json"
KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from benchmark.execution.executors.node_files import NodeFiles

files = NodeFiles(Path(sys.argv[1]), "command")
files.receive("parcel", "weights", np.zeros(100, np.uint8))
print("begun", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def held(folder: Path) -> list[str]:
    """Return the files below a folder but locks, by their names."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def brought(files: NodeFiles, parcel: str) -> None:
    files.receive(parcel, NAME, BLOCK)
    files.unpack_file(parcel, NAME)


def test_what_came_to_a_node_goes_with_the_last_who_needs_it(tmp_path: Path) -> None:
    first, second = NodeFiles(tmp_path, "command"), NodeFiles(tmp_path, "command")
    other = NodeFiles(tmp_path, "other")
    brought(first, "a")
    brought(other, "b")
    assert second.has_file(NAME)
    first.leave()
    assert second.has_file(NAME)
    second.leave()
    assert not (tmp_path / HOME / "command").exists()
    assert other.has_file(NAME)
    other.leave()
    assert held(tmp_path) == []


def test_what_a_killed_process_left_goes_when_the_next_begins_and_checkpoints_stay(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, check=False)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, b"begun\n"), killed.stderr
    checkpoint = tmp_path / HOME / "command" / "internal" / "work" / "a run" / "checkpoint"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert "weights" in held(tmp_path)
    NodeFiles(tmp_path, "other").leave()
    assert held(tmp_path) == ["checkpoint"]
    long_ago = time.time() - 15 * 86_400
    os.utime(tmp_path / HOME / "command" / "owners", (long_ago, long_ago))
    NodeFiles(tmp_path, "other").leave()
    assert held(tmp_path) == []


def test_what_is_not_ours_in_the_scratch_folder_stays(tmp_path: Path) -> None:
    files = NodeFiles(tmp_path, "command")
    for home in (tmp_path, tmp_path / HOME):
        for name in ("project/owners/notes", "project/inputs/images"):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).touch()
        long_ago = time.time() - 99 * 86_400
        os.utime(home / "project" / "owners", (long_ago, long_ago))
    files.leave()
    NodeFiles(tmp_path, "other").leave()
    assert held(tmp_path) == ["images", "images", "notes", "notes"]


def test_a_process_of_another_machine_is_taken_for_gone_after_a_week_without_a_run(tmp_path: Path) -> None:
    files = NodeFiles(tmp_path, "command")
    brought(files, "a")
    (owner,) = (tmp_path / HOME / "command" / "owners").iterdir()
    owner.write_text('["another machine", 1, 1.0]')
    NodeFiles(tmp_path, "other").leave()
    assert files.has_file(NAME)
    long_ago = time.time() - 8 * 86_400
    os.utime(owner, (long_ago, long_ago))
    NodeFiles(tmp_path, "other").leave()
    assert not files.has_file(NAME)


def test_a_run_of_a_process_that_has_left_makes_it_no_owner_again(tmp_path: Path) -> None:
    files = NodeFiles(tmp_path, "command")
    brought(files, "a")
    owners = tmp_path / HOME / "command" / "owners"
    names = {"images": "name/images", "split": NAME, "plugin 0": NAME}
    files.localized(a_job(tmp_path), names)
    assert len(list(owners.iterdir())) == 1
    (owner,) = owners.iterdir()
    owner.unlink()
    files.localized(a_job(tmp_path), names)
    assert list(owners.iterdir()) == []


def test_a_folder_that_can_not_be_made_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"^'.*/file/scratch/tumorboard-cluster' can't be made \(.*\): name another scratch folder\.$"
    ):
        NodeFiles(tmp_path / "file" / "scratch", "command")


def test_folders_and_records_that_a_file_system_shows_late_are_waited_for(tmp_path: Path) -> None:
    mark, images, job = tmp_path / "mark", tmp_path / "images", a_job(tmp_path / "out")
    waits = until_seen(job, "a1")
    assert next(waits) is None

    def shown() -> None:
        mark.write_text("token")
        images.mkdir()

    late = threading.Timer(0.3, shown)
    late.start()
    assert shares_folders(mark, "token", [str(images)])
    late.join()
    RecordStore(job.out).write(job.record(Outcome.OK, provenance={"attempt": "a1"}), some_predictions())
    assert list(waits) == []
