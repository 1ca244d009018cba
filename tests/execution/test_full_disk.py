"""A backbone that fills the disk of the results folder."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.execution.commands import GOOD, Bench, make_images

PLUGIN = (
    GOOD
    + """
@backbone("test/fills_the_disk", framework="torch", input_size=16)
def fills_the_disk(num_classes):
    with (HERE / "filler").open("wb", buffering=0) as stream:
        while True:
            stream.write(os.urandom(4096))
"""
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system can't be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=False)


def fill(path: Path) -> None:
    """Write to a file until there is no space left."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass


@pytest.mark.slow
def test_a_full_disk_is_a_row_and_the_next_run_completes(small_disk: Path, tmp_path: Path) -> None:
    plugin = small_disk / "plugin.py"
    plugin.write_text(PLUGIN)
    bench = Bench(make_images(tmp_path / "images"), plugin, small_disk / "out", drawn=True)
    done = bench.run("--epochs", "1", "--backbone", "test/fills_the_disk", "test/good")
    assert done.returncode == 1
    assert done.stderr == ""
    rows = bench.rows()
    assert rows["test/fills_the_disk"]["status"] == "error", done.stdout
    assert "free some space" in rows["test/fills_the_disk"]["reason"]
    assert rows["test/good"]["status"] == "ok", done.stdout


@pytest.mark.slow
def test_a_disk_that_is_full_from_the_start_is_said_in_a_sentence(small_disk: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(GOOD)
    fill(small_disk / "filler")
    bench = Bench(make_images(tmp_path / "images"), plugin, small_disk / "out", drawn=True)
    done = bench.run("--epochs", "1", "--backbone", "test/good")
    assert done.returncode == 2
    assert "can't be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
