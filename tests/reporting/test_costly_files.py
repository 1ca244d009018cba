"""Small files that would cost everything, in a results folder: each is left out for little memory and little time."""

import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from foreign import BAD, GOOD, OTHER, folder_of, sealed, suite, used
from simulated import FOUR, Study

from benchmark.records.record_arrays import MAX_ARRAY_BYTES
from benchmark.records.store import RecordStore
from benchmark.reporting.figures.thumbnails import read_thumbnails, thumbnail_path
from tests.watching import watched


def assert_only_the_good(out: Path, tables_of_the_good: list[str], memory: int = 2**30) -> tuple[str, ...]:
    """Use a folder under watch; return what its board says is wrong with it."""
    (out / "board").mkdir(exist_ok=True)
    with watched(out / "board", memory=memory):
        board, tables = used(out)
    assert tables == tables_of_the_good
    return board.problems


def zip_of(size: int, members: int, says: int | None = None) -> bytes:
    """Return a zip file of that many members of zeros, each of which may say that it is smaller."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(members):
            archive.writestr(str(number), bytes(size))
    data = bytearray(buffer.getvalue())
    if says is not None:
        for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            at = -1
            while (at := data.find(signature, at + 1)) >= 0:
                data[at + place : at + place + 4] = struct.pack("<I", says)
    return bytes(data)


@pytest.mark.parametrize(
    "content",
    [
        lambda: zip_of(60_000_000, 20),  # 1.1 MiB that would be 1.1 GiB
        lambda: zip_of(1_500_000_000, 1, says=100),  # 1.4 MiB that says it is 100 bytes
        lambda: zip_of(100, 70_000)[:-22],  # a table of contents without an end
    ],
)
def test_thumbnails(content: Callable[[], bytes], tmp_path: Path, tables_of_the_good: list[str]) -> None:
    RecordStore(tmp_path).write(*GOOD)
    RecordStore(tmp_path).write(*OTHER)
    path = thumbnail_path(tmp_path, GOOD[0].data.fingerprint)
    path.parent.mkdir()
    path.write_bytes(content())
    with watched(tmp_path / "nothing", memory=2**27):
        assert read_thumbnails(tmp_path, GOOD[0].data.fingerprint) == {}
    assert_only_the_good(tmp_path, tables_of_the_good)


def npz(**arrays: np.ndarray) -> bytes:  # type: ignore[type-arg]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def test_predictions_that_would_unpack_to_gigabytes(tmp_path: Path, tables_of_the_good: list[str]) -> None:
    folder = folder_of(tmp_path)
    (folder / "predictions.npz").write_bytes(
        npz(**{**vars(BAD[1]), "probabilities": np.zeros((30_000_000, 4), dtype=np.float32)})
    )
    assert (folder / "predictions.npz").stat().st_size < 2**20
    sealed(folder)
    assert assert_only_the_good(tmp_path, tables_of_the_good, memory=2**28) == (
        f"records/{folder.name} is not used: its predictions can't be read (it is too large when unpacked (at most "
        f"{MAX_ARRAY_BYTES} bytes are)).",
    )


def test_the_largest_predictions_that_are_read(tmp_path: Path, tables_of_the_good: list[str]) -> None:
    """Just below each bound, with everything that is made of it: still within a GiB."""
    folder = folder_of(tmp_path)
    names = np.full(MAX_ARRAY_BYTES // 4 // 100 - 1000, "x" * 100)
    (folder / "predictions.npz").write_bytes(npz(**{**vars(BAD[1]), "image_ids": names}))
    sealed(folder)
    assert assert_only_the_good(tmp_path, tables_of_the_good) == (
        f"records/{folder.name} is not used: its arrays differ in length.",
    )


@pytest.mark.parametrize("shape", [(8, 6000, 4000), (8, 1025, 1), (2, 1, 6000)])
def test_maps_of_thousands_of_pixels(
    shape: tuple[int, int, int], tmp_path: Path, tables_of_the_good: list[str]
) -> None:
    folder = folder_of(tmp_path)
    cams = BAD[2]
    assert cams is not None
    count = len(cams.image_ids)
    maps = np.zeros((min(count, shape[0]), *shape[1:]), dtype=np.float16)
    (folder / "cams.npz").write_bytes(npz(**{**vars(cams), "maps": maps}))
    sealed(folder)
    (tmp_path / "board").mkdir()
    with watched(tmp_path / "board"):
        board, _ = used(tmp_path)
    assert f"The Grad-CAM maps of record {folder.name}" in board.problems[0]
    assert board.problems[0].endswith("can't be read.")


def test_a_suite_of_gigabytes(tmp_path: Path, tables_of_the_good: list[str]) -> None:
    folder_of(tmp_path)
    RecordStore(tmp_path)
    suite(tmp_path, "study", "study")
    os.truncate(tmp_path / "suites" / "study.json", 1_500_000_000)
    (tmp_path / "board").mkdir()
    with watched(tmp_path / "board", memory=2**27):
        board, _ = used(tmp_path)
    assert board.problems == (
        "suites/study.json is not used: it is too large (1500000000 bytes; at most 4194304 are read).",
    )


ARRAYS = ("records/{}/predictions.npz", "records/{}/cams.npz", "records/{}/corruptions.npz")
PLACES = ("suites/x.json", "parity/x.json", "thumbnails/{}.zip", "records/{}/record.json", "records/{}/SHA256SUMS")


@pytest.mark.parametrize(
    "place", [*PLACES, *(f"records/{{}}/{name}.npz" for name in ("predictions", "cams", "corruptions"))]
)
@pytest.mark.parametrize("kind", ["pipe", "kernel", "zeros", "sparse"])
def test_what_never_ends(kind: str, place: str, tmp_path: Path, tables_of_the_good: list[str]) -> None:
    """Pipes, devices, the kernel's log, two terabytes of nothing, wherever a folder has files."""
    folder = folder_of(tmp_path)
    name = BAD[0].data.fingerprint[:20] if place.startswith("thumbnails") else folder.name
    path = tmp_path / place.format(name)
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "sparse":
        path.touch()
        os.truncate(path, 2**41)
    else:
        path.symlink_to("/proc/kmsg" if kind == "kernel" else "/dev/zero")
    (tmp_path / "board").mkdir()
    with watched(tmp_path / "board"):
        board, tables = used(tmp_path)
    if len(board.results) == 2:
        assert tables == tables_of_the_good
    if not place.startswith("thumbnails"):
        assert len(board.problems) == 1


def test_many_records_that_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each within its bounds; of all together, what fits into the bound of a folder."""
    monkeypatch.setattr(
        "benchmark.records.record_arrays.MAX_HELD_BYTES", 2 * sum(array.nbytes for array in vars(GOOD[1]).values())
    )

    for seed in range(12):
        RecordStore(tmp_path).write(*Study(patients=8, slices=1, name=f"data {seed}").run(FOUR[0], seed=seed))
    stored = RecordStore(tmp_path).read_all()
    assert 1 <= len(stored) < 12
    assert all("the records before it fill the" in problem for problem in stored.problems)
    assert len(stored) + len(stored.problems) == 12
