"""A results folder of a lab: two accounts of one group work in it, and files follow the umask of who writes them.

With root's rights the two are accounts of their own; else one user plays both, and modes alone are looked at.
"""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from benchmark.atomic_files import UNFINISHED, write_atomically, written_file
from benchmark.cli.main import main
from benchmark.execution.claims import Claims
from benchmark.records.store import RecordStore
from tests.execution.commands import GOOD, PATIENCE, Bench
from tests.execution.samples import a_record, some_predictions

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and owners are POSIX's")
ANNA, BORIS, LAB = 61001, 61002, 61000
needs_root = pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="two accounts need root's rights")


@pytest.fixture
def lab() -> Iterator[Path]:
    """A folder that a group may write to, new files in it being the group's."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        if os.geteuid() == 0:
            os.chown(path, ANNA, LAB)
        path.chmod(0o2775)
        yield path


def done_by(user: int, action: Callable[[Path], object], out: Path) -> None:
    """Do something as a member of the lab, in a new process: other tests leave threads here, which a fork may not
    survive.
    """
    command = [sys.executable, "-c", _AS_MEMBER, action.__name__, str(user), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


_AS_MEMBER = """
import sys
from pathlib import Path
from tests.execution import test_shared_places
name, user, out = sys.argv[1:]
test_shared_places.as_member(int(user), getattr(test_shared_places, name), Path(out))
"""


def as_member(user: int, action: Callable[[Path], object], out: Path) -> None:
    """Do something as a member of the lab, once root has done it elsewhere: all that it imports is there then, as
    Python itself may lie where the member can't read.
    """
    with tempfile.TemporaryDirectory() as elsewhere, tempfile.TemporaryDirectory() as empty:
        os.environ["TUMORBOARD_CACHE"] = empty  # where nothing is kept, all is computed and drawn
        record(Path(elsewhere))
        claimed(Path(elsewhere)).close()
        if action is not claim_and_die:
            action(Path(elsewhere))
    os.setgroups([])
    os.setgid(LAB)
    os.setuid(user)
    os.umask(0o002)
    os.environ["HOME"] = os.environ["TUMORBOARD_CACHE"] = "/nonexistent"
    action(out)


def record(out: Path) -> None:
    RecordStore(out).write(a_record(), some_predictions())


def claimed(out: Path) -> Claims:
    claims = Claims(out)
    assert claims.take("ab" * 32)
    return claims


def claim_and_release(out: Path) -> None:
    claimed(out).close()


def claim_and_die(out: Path) -> None:
    claimed(out)
    os._exit(0)


def lock(out: Path) -> None:
    with FileLock(out / "internal/claims" / "leaderboard.lock", timeout=5):
        pass


def board(out: Path) -> None:
    assert main(["leaderboard", str(out)]) == 0


@needs_root
def test_a_record_of_one_is_replaced_by_the_other(lab: Path, tmp_path: Path) -> None:
    record(tmp_path)
    for user in (ANNA, BORIS, ANNA):
        done_by(user, record, lab)
        [folder] = (lab / "records").iterdir()
        assert folder.stat().st_uid == user
        assert {path.stat().st_gid for path in lab.rglob("*")} == {LAB}
        assert stat.S_IMODE(folder.stat().st_mode) & 0o775 == 0o775
        assert stat.S_IMODE((folder / "record.json").stat().st_mode) == 0o664


@needs_root
def test_claims_and_locks_work_for_both(lab: Path, tmp_path: Path) -> None:
    claimed(tmp_path).close()
    lock(tmp_path)
    for user in (ANNA, BORIS):
        done_by(user, claim_and_release, lab)
    # Anna's process dies with its claim; Boris's takes it over, and clears it away
    done_by(ANNA, claim_and_die, lab)
    assert len(list((lab / "internal/claims").iterdir())) == 1
    done_by(BORIS, claim_and_release, lab)
    assert list((lab / "internal/claims").iterdir()) == []
    for user in (ANNA, BORIS):
        done_by(user, lock, lab)


@needs_root
@pytest.mark.slow
@pytest.mark.filterwarnings("error::RuntimeWarning")  # so few images leave no interval
def test_both_write_the_board(lab: Path, tmp_path: Path) -> None:
    record(tmp_path)
    board(tmp_path)
    done_by(ANNA, record, lab)
    for user in (ANNA, BORIS):
        done_by(user, board, lab)
        assert (lab / "leaderboard.md").stat().st_uid == user


def others_have_python() -> bool:
    """Return whether another account may start this Python: it may lie in a home directory."""
    try:
        return subprocess.run([sys.executable, "-c", ""], user=ANNA, group=LAB, check=False).returncode == 0
    except PermissionError:
        return False


@needs_root
@pytest.mark.slow
def test_two_accounts_share_the_runs_of_one_folder(lab: Path) -> None:
    """Each with a cache of its own, as a cache that others may write to is refused."""
    if not others_have_python():
        pytest.skip("another account can't start this Python")
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        bench = Bench.of(Path(place), GOOD, drawn=True)  # pictures of the one account are replaced by the other's
        for user in (ANNA, BORIS):
            (Path(place) / str(user)).mkdir()
            os.chown(Path(place) / str(user), user, LAB)
        out = Bench(bench.images, bench.plugin, lab / "out", drawn=True)
        for user, seeds, note in (
            (ANNA, ["0"], f"group {LAB} may write to it"), (BORIS, ["0", "1"], f"it belongs to user {ANNA}"),
        ):  # fmt: skip
            done = subprocess.run(
                out.command("--backbone", "test/good", "--epochs", "1", "--seed", *seeds), capture_output=True,
                env={**out.environment(), "TUMORBOARD_CACHE": f"{place}/{user}", "HOME": f"{place}/{user}"},
                text=True, user=user, group=LAB, extra_groups=[], umask=0o002, timeout=PATIENCE, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            assert note in " ".join(done.stdout.split()).replace("'", "")
        assert "seed 0: kept, ok" in done.stdout
    assert len(RecordStore(lab / "out").read_all()) == 2


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_files_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "a.txt", "x")
        folder = RecordStore(tmp_path / "out").write(a_record(), some_predictions())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o666 & ~umask}


def test_the_names_of_unfinished_files_can_not_be_guessed(tmp_path: Path) -> None:
    names = set()
    for _ in range(20):
        with written_file(tmp_path / "a.txt") as unfinished:
            names.add(unfinished.name)
    assert len(names) == 20
    assert all(len(name.removeprefix(UNFINISHED).removesuffix(".txt")) == 32 for name in names)  # 128 bits


def test_what_lies_in_the_place_of_an_unfinished_file_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where a name were guessed: a link there is an error, and what it points to is left alone."""
    from types import SimpleNamespace

    monkeypatch.setattr("benchmark.atomic_files.uuid4", lambda: SimpleNamespace(hex="0" * 32))
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / f"{UNFINISHED}{'0' * 32}.txt").symlink_to(mine)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "a.txt", "theirs")
    assert mine.read_text() == "mine"
