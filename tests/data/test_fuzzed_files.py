"""Whatever stands in a split, a manifest or a zip file: it is used, or refused in a sentence, within bounds."""

import io
import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.data.dataset import DataSet, Split
from benchmark.data.sources.manifest import ManifestSource
from benchmark.data.sources.manifest_table import OPTIONAL, REQUIRED, read_table
from benchmark.data.sources.tree import FileTree, read_bytes
from benchmark.data.splits.files import load_split, save_split, split_table
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.errors import UserError
from tests.watching import fuzzed, watched

FUZZED = fuzzed(60)
COUNT = 60


def cohort() -> DataSet:
    return DataSet(
        name="cohort", pixels=np.zeros((COUNT, 4, 4, 3), dtype=np.uint8), labels=np.arange(COUNT) % 3,
        image_ids=np.array([f"p{k}" for k in range(COUNT)]), class_names=("a", "b", "c"), fingerprint="0" * 64,
        identical=np.arange(COUNT), groups=np.array([f"p{k}" for k in range(COUNT)]),
    )  # fmt: skip


DATA = cohort()
SPLIT = make_splits(DATA, SplitOptions(seed=0, validation_fraction=0.2))[0]


def sentence(error: Exception) -> None:
    assert str(error).endswith(".")
    assert "Traceback" not in str(error)


def loaded(path: Path) -> Split | None:
    """Load a split, within bounds; ``None`` where it is refused."""
    with watched(path.parent):
        try:
            split = load_split(path)
        except UserError as error:
            sentence(error)
            return None
    assert isinstance(split.name, str)
    for part in (split.train, split.validation, split.test):
        assert part.dtype == np.int64
        assert part.ndim == 1
    return split


@FUZZED
@given(st.data())
def test_whatever_the_bytes_of_a_split_are(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "split.npz"
    save_split(SPLIT, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
    path.write_bytes(bytes(content))
    loaded(path)


FACTS = json.loads(
    str(
        np.array(
            json.dumps(
                {
                    name: getattr(SPLIT, name)
                    for name in (
                        "name",
                        "hash",
                        "limited_to",
                        "leaks",
                        "notes",
                        "removed",
                        "unscored",
                        "kind",
                        "fold",
                        "folds",
                        "scheme",
                    )
                }
            )
        )
    )
)
VALUES = st.sampled_from([None, True, -1, 2**70, 1.5, "", "\x1b[31m", "x" * 10_000, [], ["a", 1], {}, [[]]])
POSITIONS = st.lists(st.sampled_from([-1, 0, 1, 2, COUNT - 1, COUNT, 2**40]), max_size=6)


@FUZZED
@given(
    changes=st.dictionaries(st.sampled_from([*FACTS, "more"]), VALUES, max_size=2),
    positions=st.dictionaries(st.sampled_from(["train", "validation", "test"]), POSITIONS, max_size=3),
    dtype=st.sampled_from(["i8", "i4", ">i8", "u1", "f8", "U3", "?"]),
)
def test_whatever_a_split_says(
    tmp_path: Path, changes: dict[str, Any], positions: dict[str, list[int]], dtype: str
) -> None:
    path = tmp_path / "split.npz"
    parts: dict[str, Any] = {name: getattr(SPLIT, name) for name in ("train", "validation", "test")}
    with np.errstate(all="ignore"):
        parts |= {name: np.array(values, dtype="i8").astype(dtype) for name, values in positions.items()}
    np.savez(path, facts=np.array(json.dumps({**FACTS, **changes})), **parts)
    split = loaded(path)
    if split is None:
        return
    try:  # as a worker does, before it trusts a split: positions that the data has not are an IndexError to it
        split_table(DATA, (split,))
    except IndexError:
        assert max(part.max(initial=0) for part in (split.train, split.validation, split.test)) >= COUNT


CELL = st.sampled_from(
    ["", "a.png", "b.png", "../a.png", "/etc/passwd", "a\0.png", "x", "train", "9" * 5000, "-1", "\x1b[31m", "\u202e",
     "=1+1", "notumor", "a.nii.gz", "\\", "a" * 5000, "\ud7ff"]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)  # fmt: skip
COLUMNS = st.lists(st.sampled_from([*REQUIRED, *OPTIONAL, "patient"]), max_size=6, unique=True)


@FUZZED
@given(data=st.data(), columns=COLUMNS, typed=st.sampled_from(["text", "int", "float", "list", "binary", "none"]))
def test_whatever_a_parquet_manifest_says(
    tmp_path: Path, data: st.DataObject, columns: list[str], typed: str
) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    rows = data.draw(st.integers(0, 4))
    table: dict[str, Any] = {name: data.draw(st.lists(CELL, min_size=rows, max_size=rows)) for name in columns}
    if columns and typed != "text":
        kinds = {
            "int": arrow.array([1] * rows), "float": arrow.array([float("nan")] * rows),
            "list": arrow.array([["a.png"]] * rows, arrow.list_(arrow.string())),
            "binary": arrow.array([b"a.png\xff"] * rows), "none": arrow.array([None] * rows),
        }  # fmt: skip
        table[data.draw(st.sampled_from(columns))] = kinds[typed]
    path = tmp_path / "m.parquet"
    parquet.write_table(arrow.table(table), path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    used(path)


@FUZZED
@given(st.binary(max_size=300) | st.lists(st.lists(CELL, max_size=8), max_size=5).map(
    lambda lines: "\n".join(",".join(line) for line in lines).encode()))  # fmt: skip
def test_whatever_the_bytes_of_a_manifest_are(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").touch()
    path = tmp_path / "m.csv"
    path.write_bytes(b"path,label,split,slice\na.png,x,train,0\n" + content)
    used(path)


def used(path: Path) -> None:
    """Use a manifest as every command does before it reads an image."""
    with watched(path.parent):
        try:
            source = ManifestSource(path)
            for item in source.items:
                inside = (path.parent / item.image_id.partition("#")[0]).resolve()
                assert inside.is_relative_to(path.parent.resolve())
            source.signature()
        except UserError as error:
            sentence(error)


def test_a_parquet_file_of_columns_without_end(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    label = arrow.DictionaryArray.from_arrays(arrow.array(np.zeros(900_000, dtype=np.int32)), ["x" * 4000])
    table = arrow.table({"path": ["a.png"] * 900_000, "label": label})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    assert len(buffer.getvalue()) < 2**20
    with watched(tmp_path), pytest.raises(UserError) as refused:
        read_table(buffer.getvalue(), "m.parquet")
    assert str(refused.value) == (
        "Manifest 'm.parquet' can't be read (its cells have more than 128 million characters)."
    )


@FUZZED
@given(
    names=st.lists(st.sampled_from(["a.png", "b.png", "../x.png", "/x.png", "c.zip", "\u202e.png", "x\x1b.png", "a/"])
                   | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), max_size=5),
    damage=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3),
)  # fmt: skip
def test_whatever_a_zip_file_of_images_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], damage: list[tuple[int, int]]
) -> None:
    monkeypatch.setenv("TUMORBOARD_CACHE", str(tmp_path / "cache"))  # an archive in an archive is unpacked there
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in dict.fromkeys(names):
            archive.writestr(name, b"pixels" * 10)
    content = bytearray(path.read_bytes())
    for place, value in damage:
        content[place % len(content)] = value
    path.write_bytes(bytes(content))
    with watched(tmp_path):
        try:
            tree = FileTree(path)
            for name in tree.files:
                tree.read(name)
        except UserError as error:
            sentence(error)


def test_a_member_never_unpacks_to_more_than_it_says(tmp_path: Path) -> None:
    """A megabyte that says it holds 100 bytes, and holds 400 MB."""
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(400_000_000))
    data = bytearray(path.read_bytes())
    for place in (22, data.find(b"PK\x01\x02") + 24):
        data[place : place + 4] = struct.pack("<I", 100)
    path.write_bytes(data)
    tree = FileTree(path)
    with watched(tmp_path, memory=2**26), pytest.raises(UserError, match="can't be unpacked"):
        tree.read("a.png")


def test_a_pipe_among_images_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserError) as refused:
        read_bytes(tmp_path / "a.png")
    assert str(refused.value) == f"Image '{tmp_path / 'a.png'}' is not a regular file."
