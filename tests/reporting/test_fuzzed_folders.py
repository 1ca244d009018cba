"""Whatever stands in a folder's files: the board of the good runs is as it would be without, within bounds of memory
and time, and nothing is written but the board.
"""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign import BAD, GOOD, OTHER, folder_of, put, sealed, suite, used
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from PIL import Image

from benchmark.hashing import hash_json
from benchmark.records.store import RecordStore, short
from benchmark.reporting.figures.thumbnails import Thumbnails, thumbnail_path
from benchmark.reporting.page.page import page
from tests.watching import fuzzed, watched

FUZZED = fuzzed(15)
TEXTS = ["", "../x", "/etc/passwd", "\0", "\x1b[31mred", "\u202eabc", "<script>alert(1)</script>", "=1+1", "+1", "-1",
         "@SUM(A1)", "\t=1", "| a |", "\\input{/etc/passwd}", "$x$", "a\nb", "x" * 2000]  # fmt: skip
VALUES = st.sampled_from(
    [None, True, 0, -1, 1, 0.5, 2**63, 10**19, 1e300, -1e15, float("nan"), float("inf"), [], {}, [1], {"a": [{}]},
     *TEXTS]
) | st.text(max_size=20) | st.integers() | st.floats()  # fmt: skip


def places(values: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where a record has values: the first two of each list."""
    if isinstance(values, dict):
        inner: Any = values.items()
    elif isinstance(values, list):
        inner = list(enumerate(values))[:2]
    else:
        return [place]
    return [*([place] if place else []), *(each for name, value in inner for each in places(value, (*place, name)))]


PLACES = places(json.loads(BAD[0].model_dump_json()))


def watched_use(out: Path) -> tuple[Any, list[str]]:
    """Use a folder as every command does, under watch."""
    (out / "board").mkdir(exist_ok=True)
    with watched(out / "board"):
        return used(out)


def assert_the_good_are_shown(out: Path, tables_of_the_good: list[str]) -> None:
    """Assert that the two good runs are shown: alone as without the third, and each of them in any case."""
    board, tables = watched_use(out)
    if len(board.results) == 2:
        assert tables == tables_of_the_good
    else:
        assert all(key in tables[1] for key in (GOOD[0].key, OTHER[0].key))


@FUZZED
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=2))
def test_whatever_a_record_says(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[Any, Any]], tables_of_the_good: list[str]
) -> None:
    out = tmp_path_factory.mktemp("fuzz")
    folder = folder_of(out)
    values = json.loads((folder / "record.json").read_text())
    for place, value in changes:
        try:
            put(*place, value=value)(values)
        except (KeyError, TypeError, IndexError):
            continue  # the first change took the place away
    (folder / "record.json").write_text(json.dumps(values))
    try:
        key = hash_json(values["identity"])
    except ValueError:
        key = values["key"]
    if isinstance(values["key"], str):
        (folder / "record.json").write_text(json.dumps({**values, "key": key}))
        sealed(folder)
        folder.rename(folder.with_name(short(key)))
    board, tables = watched_use(out)
    if len(board.results) == 2:
        assert tables == tables_of_the_good
        assert len(board.problems) == 1
    else:
        assert all(key in tables[1] for key in (GOOD[0].key, OTHER[0].key))


DTYPES = st.sampled_from(
    ["?", "i1", ">i4", "<i8", "u1", "u8", "f2", ">f4", "f8", "c8", "U0", "U1", ">U3", "U40", "S4", "M8[s]", "m8[D]",
     "V3", [("a", "i4"), ("b", "U2")]]
)  # fmt: skip
COUNT = len(BAD[1].labels)
SHAPES = st.sampled_from(
    [(), (0,), (1,), (COUNT,), (COUNT - 1,), (COUNT, 4), (COUNT, 0), (4, COUNT), (COUNT, 4, 1), (3, 8, 8),
     (3, 80, 10), (3, 0, 0), (80, 80), (1, 1, 1, 1, 1)]
)  # fmt: skip
ANY_ARRAY = st.tuples(DTYPES, SHAPES).flatmap(
    lambda kind: arrays_of.arrays(
        np.dtype(kind[0]), kind[1], elements=None, fill=st.nothing() if not kind[1] else None
    )
)
# What is nearly right: the array as it is, of another type, order or length, with some values changed.
NEARLY = st.sampled_from(["f2", "f4", "f8", ">f8", "i1", "i4", ">i8", "u1", "?", "U1", ">U9"])


def npz(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            own = io.BytesIO()
            np.save(own, array, allow_pickle=False)
            archive.writestr(f"{name}.npy", own.getvalue())
    return buffer.getvalue()


@FUZZED
@given(data=st.data())
def test_whatever_the_arrays_are(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, tables_of_the_good: list[str]
) -> None:
    """Types, shapes and values that no run leaves, in files that are sound as files, with fitting checksums."""
    out = tmp_path_factory.mktemp("arrays")
    folder = folder_of(out)
    file = data.draw(st.sampled_from(["predictions.npz", "cams.npz", "corruptions.npz"]))
    arrays = dict(np.load(folder / file))
    for name in data.draw(st.lists(st.sampled_from(sorted(arrays)), min_size=1, max_size=2, unique=True)):
        how = data.draw(st.sampled_from(["any", "type", "value", "fortran", "cut", "gone"]))
        if how == "any":
            arrays[name] = data.draw(ANY_ARRAY)
        elif how == "type":
            with np.errstate(all="ignore"):
                try:
                    arrays[name] = arrays[name].astype(data.draw(NEARLY))
                except ValueError:
                    arrays[name] = arrays[name].astype("U9")
        elif how == "value" and arrays[name].size:
            wild = [-1, 5, 2**31, np.nan, np.inf, -np.inf] if arrays[name].dtype.kind == "f" else [-1, 5, 127]
            value: Any = data.draw(st.sampled_from(TEXTS if arrays[name].dtype.kind == "U" else wild))
            with np.errstate(all="ignore"):
                arrays[name].flat[data.draw(st.integers(0, arrays[name].size - 1))] = np.array(value).astype(
                    arrays[name].dtype
                )
        elif how == "fortran":
            arrays[name] = np.asfortranarray(arrays[name])
        elif how == "cut":
            arrays[name] = arrays[name][:-1]
        else:
            del arrays[name]
    (folder / file).write_bytes(npz(arrays))
    sealed(folder)
    assert_the_good_are_shown(out, tables_of_the_good)


@FUZZED
@given(data=st.data())
def test_whatever_the_bytes_of_a_file_are(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, tables_of_the_good: list[str]
) -> None:
    out = tmp_path_factory.mktemp("bytes")
    folder = folder_of(out)
    suite(out, "study", "study")
    path = thumbnail_path(out, BAD[0].data.fingerprint)
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"\xff\xd8")
    certificate = out / "parity" / "a.json"
    certificate.parent.mkdir()
    certificate.write_text('{"torch": "a", "keras": "b"}')
    names = ("predictions.npz", "cams.npz", "corruptions.npz", "record.json")
    files = [*(folder / name for name in names), path, out / "suites/study.json"]
    file = data.draw(st.sampled_from([*files, certificate]))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
    file.write_bytes(bytes(content))
    sealed(folder)
    board, tables = watched_use(out)
    if len(board.results) == 2:
        assert tables == tables_of_the_good


@FUZZED
@given(
    values=st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["suite", "entries", "known", "about", "runs"]) | st.text(max_size=5), inner, max_size=4))
)  # fmt: skip
def test_whatever_a_suite_file_says(
    tmp_path_factory: pytest.TempPathFactory, values: Any, tables_of_the_good: list[str]
) -> None:
    out = tmp_path_factory.mktemp("suite")
    RecordStore(out).write(*GOOD)
    RecordStore(out).write(*OTHER)
    suite(out, "study", "study")
    path = out / "suites" / "study.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), **(values if isinstance(values, dict) else {"x": values})})
    )
    _, tables = watched_use(out)
    assert tables == tables_of_the_good


def jpeg(width: int, height: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new(kind, (width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


PICTURES = st.sampled_from(
    [jpeg(1, 1, "L"), jpeg(80, 80, "RGB"), jpeg(1025, 1025, "L"), jpeg(2, 3, "L"), jpeg(80, 80, "CMYK")]
) | st.binary(max_size=200)  # fmt: skip
IDS = st.sampled_from([str(name) for name in BAD[1].image_ids[-8:]]) | st.sampled_from(
    ["../x", "/etc/x", "a\n", "\u202e"]
)


@FUZZED
@given(entries=st.lists(st.tuples(IDS, PICTURES, st.integers(0, 2), st.binary(max_size=3)), max_size=6))
def test_whatever_the_thumbnails_are(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, bytes, int, bytes]]
) -> None:
    """Each picture is absent or one of our own making: small, square, grey."""
    out = tmp_path_factory.mktemp("thumbnails")
    RecordStore(out).write(*BAD)
    path = thumbnail_path(out, BAD[0].data.fingerprint)
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, cut, tail in entries:
            archive.writestr(name, content[: len(content) - 10 * cut] + tail)
    (out / "board").mkdir()
    with watched(out / "board"):
        board, _ = used(out)
        kept = Thumbnails([out], BAD[0].data.fingerprint)
        made = [kept[name] for name in kept if kept.get(name) is not None]
        page(board, {BAD[0].data.fingerprint: kept})
    for content in made:
        with Image.open(io.BytesIO(content)) as image:
            assert image.mode == "L"
            assert image.width == image.height <= 80
