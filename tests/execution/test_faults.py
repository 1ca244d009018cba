"""Faults of the machine while a command goes on: each ends in a result or a sentence, and the next command goes on.

The table of all of them is docs/faults.md.
"""

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmark.records.record import Record
from benchmark.records.store import RecordStore
from tests.execution.commands import EXACT, GOOD, PATIENCE, SLOW, Bench, follow_until, gone, make_images

pytestmark = pytest.mark.slow

PLUGIN = GOOD + SLOW
ONE = ("--backbone", "test/good", "--epochs", "1")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("faults") / "images")


@pytest.fixture
def bench(images: Path, tmp_path: Path) -> Bench:
    return Bench.of(tmp_path, PLUGIN, images)


@pytest.fixture
def own_images(tmp_path: Path) -> Bench:
    """Return a bench whose cache is its own, so that it may be spoiled."""
    return Bench.of(tmp_path, PLUGIN)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can't be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def begun(
    bench: Bench, *words: str, prepare: Callable[[], None] | None = None, **environment: str
) -> "subprocess.Popen[str]":
    """Start a command in a group of its own, after something was done in its process."""
    return subprocess.Popen(
        bench.command(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=prepare,
        env={**bench.environment(), **environment}, start_new_session=True,
    )  # fmt: skip


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    text, _ = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in text, text
    return process.returncode, text


def the_record(bench: Bench) -> tuple[Record, np.ndarray]:  # type: ignore[type-arg]
    [(record, predictions)] = RecordStore(bench.out).read_all()
    assert predictions is not None
    return record, predictions.probabilities


def everyone(process: "subprocess.Popen[str]") -> list[int]:
    return [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]


@pytest.mark.parametrize("who", ["all", "controller", "worker"])
def test_stopped_and_continued(bench: Bench, who: str, tmp_path: Path) -> None:
    """As a laptop's lid does: nothing times out, and the result is that of a run that was left alone."""
    words = ("--backbone", "test/slow", "--epochs", "6", *EXACT)
    process = begun(bench, *words)
    follow_until(process, "epoch 2/6")
    pids = {"all": everyone(process), "controller": [process.pid], "worker": everyone(process)[1:]}[who]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4)
    bench.hurry()
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    code, text = ended(process)
    assert code == 0, text
    stopped, probabilities = the_record(bench)
    assert stopped.provenance["resumed_from_epoch"] == 0
    alone = Bench(bench.images, bench.plugin, tmp_path / "alone")
    assert alone.run(*words).returncode == 0
    np.testing.assert_array_equal(probabilities, the_record(alone)[1])


def test_while_one_is_stopped_another_waits(bench: Bench) -> None:
    words = ("--backbone", "test/slow", "--epochs", "4")
    first = begun(bench, *words)
    follow_until(first, "epoch 1/4")
    stopped = everyone(first)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    second = begun(bench, *words)
    follow_until(second, "being done by another command")
    time.sleep(2)
    assert second.poll() is None
    bench.hurry()
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    assert ended(first)[0] == 0
    code, text = ended(second)
    assert code == 0
    assert "kept, ok" in text


def test_the_end_of_the_terminal_saves_the_epoch(bench: Bench) -> None:
    process = begun(
        bench, "--backbone", "test/slow", "--epochs", "8",
        prepare=lambda: heed(signal.SIGHUP),  # which is left alone under nohup, and the tests may run under it
    )  # fmt: skip
    follow_until(process, "epoch 2/8")
    pids = everyone(process)
    os.kill(process.pid, signal.SIGHUP)
    code, text = ended(process)
    assert code == 130
    assert "Give the same command again to go on from here." in text
    assert gone(pids)
    bench.hurry()
    again = bench.run("--backbone", "test/slow", "--epochs", "8")
    assert again.returncode == 0, again.stdout
    assert the_record(bench)[0].provenance["resumed_from_epoch"] >= 2


def test_under_nohup_the_terminal_may_end(bench: Bench) -> None:
    process = begun(
        bench, "--backbone", "test/slow", "--epochs", "4", prepare=lambda: ignore(signal.SIGHUP)
    )  # fmt: skip
    follow_until(process, "epoch 1/4")
    os.kill(process.pid, signal.SIGHUP)
    bench.hurry()
    code, text = ended(process)
    assert code == 0, text


def ignore(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)


def heed(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)


def test_a_reader_that_leaves(bench: Bench) -> None:
    """``| head -1``: the epoch is saved, nothing is printed anywhere, and the same command goes on."""
    errors = bench.plugin.with_name("errors")
    with errors.open("wb") as stream:
        process = subprocess.Popen(
            bench.command("--backbone", "test/slow", "--epochs", "40"), stdout=subprocess.PIPE, stderr=stream,
            text=True, env=bench.environment(),
        )  # fmt: skip
        follow_until(process, "epoch 1/40")
        pids = everyone(process)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=PATIENCE) == 130
    assert errors.read_text() == ""
    assert gone(pids)
    assert bench.rows()["test/slow"]["status"] == "interrupted"
    assert list((bench.out / "internal/work").glob("*/checkpoints/last.safetensors"))


@pytest.mark.parametrize("words", [("list",), ("recipe", "default")])
def test_other_commands_whose_reader_leaves_end_in_silence(words: tuple[str, ...], bench: Bench) -> None:
    command = [*bench.command()[:3], *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=PATIENCE) == 141


def close_all() -> None:
    for descriptor in (0, 1, 2):
        os.close(descriptor)


@pytest.mark.parametrize("close", [lambda: os.close(0), close_all])
def test_closed_standard_streams(bench: Bench, close: Callable[[], None]) -> None:
    bench = replace(bench, drawn=True)  # drawing opens files and may say something
    process = begun(bench, *ONE, prepare=close)
    code, text = ended(process)
    assert code == 0, text
    assert bench.rows()["test/good"]["status"] == "ok"
    for path in bench.out.rglob("*"):  # what is printed is in no file that took the stream's number
        assert path.is_dir() or b"Run 1 of 1" not in path.read_bytes(), path


def test_sixty_four_open_files(bench: Bench) -> None:
    bench = replace(bench, drawn=True)
    process = begun(bench, *ONE, prepare=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    code, text = ended(process)
    assert code == 0, text


def test_the_cache_is_deleted_between_runs(own_images: Bench) -> None:
    bench = own_images
    words = ("--backbone", "test/slow", "test/slow_too", "--epochs", "4")
    process = begun(bench, *words)
    follow_until(process, "epoch 2/4")
    shutil.rmtree(bench.images.parent / "cache")
    bench.hurry()
    code, text = ended(process)
    assert code == 1, text
    rows = bench.rows()
    assert rows["test/slow"]["status"] == "ok", "what is mapped stays readable"
    assert rows["test/slow_too"]["status"] == "bad_data"
    assert "can't be read" in rows["test/slow_too"]["reason"]
    again = bench.run(*words)
    assert again.returncode == 0, again.stdout
    assert "test/slow, seed 0: kept, ok" in again.stdout


def test_a_record_is_deleted_between_runs(bench: Bench) -> None:
    words = ("--backbone", "test/good", "test/slow", "--epochs", "4")
    process = begun(bench, *words)
    follow_until(process, "test/good, seed 0: ok")
    [record] = (bench.out / "records").glob("[!.]*")
    shutil.rmtree(record)
    bench.hurry()
    code, text = ended(process)
    assert code == 0, text
    assert set(bench.rows()) == {"test/slow"}
    again = bench.run(*words)
    assert again.returncode == 0
    assert set(bench.rows()) == {"test/good", "test/slow"}


def test_the_results_become_read_only(bench: Bench) -> None:
    words = ("--backbone", "test/slow", "--epochs", "6")
    process = begun(bench, *words, prepare=be_bound_by_permissions)
    follow_until(process, "epoch 2/6")
    permit(bench.out, 0o555)
    bench.hurry()
    code, text = ended(process)
    permit(bench.out, 0o755)
    assert code == 1, text
    assert "Permission denied" in text
    again = bench.run(*words)
    assert again.returncode == 0, again.stdout
    assert the_record(bench)[0].provenance["resumed_from_epoch"] >= 1


def be_bound_by_permissions() -> None:
    """Give up root's right to write what permissions forbid, for this process and all that it starts."""
    drop, override = 24, 1  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE (linux/prctl.h, linux/capability.h)
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(drop, override, 0, 0, 0):
        os._exit(77)


def permit(folder: Path, mode: int) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(mode if path.is_dir() else mode & 0o666)


def fill(folder: Path) -> None:
    """Leave no space on a disk."""
    try:
        with (folder / "filler").open("wb", buffering=0) as stream:
            while stream.write(bytes(4096)):
                pass
    except OSError:
        return


def test_a_cache_on_a_full_disk(bench: Bench, small_disk: Path) -> None:
    fill(small_disk)
    process = begun(bench, *ONE, TUMORBOARD_CACHE=str(small_disk / "cache"))
    code, text = ended(process)
    assert code == 2
    assert "TUMORBOARD_CACHE" in text or "No space left on device" in text


def test_a_full_folder_for_temporary_files(bench: Bench, small_disk: Path) -> None:
    bench = replace(bench, drawn=True)
    fill(small_disk)
    process = begun(bench, *ONE, TMPDIR=str(small_disk))
    code, text = ended(process)
    assert code == 0 or "No space left on device" in text or "temporary" in text, text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_a_full_disk_for_what_is_printed(bench: Bench) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*bench.command()[:3], "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "No space left on device. Free some space and give the same command again.\n"


CLOCK = """
import time
_now, _now_ns, _began = time.time, time.time_ns, time.monotonic()


def _jump():
    return {days} * 86400 if time.monotonic() - _began > 4 else 0


time.time = lambda: _now() + _jump()
time.time_ns = lambda: _now_ns() + _jump() * 10**9
"""


@pytest.mark.parametrize("days", [1, -1])
def test_the_clock_is_moved_by_a_day(bench: Bench, tmp_path: Path, days: int) -> None:
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK.format(days=days))
    places = os.pathsep.join([str(tmp_path / "clock"), os.environ.get("PYTHONPATH", str(Path.cwd()))])
    process = begun(bench, "--backbone", "test/slow", "--epochs", "8", PYTHONPATH=places)
    code, text = ended(process)
    assert code == 0, text
    record, _ = the_record(bench)
    assert 0 < record.timings.total_s < 600
    assert all(0 <= epoch.seconds < 60 for epoch in record.history)
