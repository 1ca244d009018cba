"""Manifests that others wrote: a sentence at once, whatever stands in them."""

import io
import time
from pathlib import Path

import pytest

from benchmark.data.sources.manifest import ManifestSource
from benchmark.data.sources.manifest_table import read_table
from benchmark.errors import UserError


def refusal(table: Path, text: str) -> str:
    table.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as refused:
        _ = ManifestSource(table).items
    return str(refused.value)


def test_a_null_in_a_path(tmp_path: Path) -> None:
    table = tmp_path / "m.csv"
    said = refusal(table, "path,label\na\0.png,x\n")
    assert said == f"'{table}' names 'a\0.png', which can't be the name of a file."


def test_a_slice_number_of_thousands_of_digits(tmp_path: Path) -> None:
    table = tmp_path / "m.csv"
    (tmp_path / "a.png").write_bytes(b"x")
    said = refusal(table, f"path,label,slice\na.png,x,{'9' * 5000}\n")
    assert said == f"'{table}' has the slice '{'9' * 200}' in row 1: give a number from 0."


def test_many_rows_of_one_image_are_refused_before_any_file_is_looked_at(tmp_path: Path) -> None:
    table = tmp_path / "m.csv"
    (tmp_path / "a.png").write_bytes(b"x")
    start = time.process_time()
    said = refusal(table, "path,label\n" + "a.png,x\n" * 200_000)
    assert said == f"'{table}' lists the image 'a.png' twice."
    assert time.process_time() - start < 10


def test_a_link_that_leads_out_is_still_refused(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "a.png").write_bytes(b"x")
    (inside / "folder").symlink_to(outside)
    (inside / "a.png").symlink_to(outside / "a.png")
    for name in ("a.png", "folder/a.png", "../out/a.png", "folder/../../out/a.png", str(outside / "a.png")):
        table = inside / "m.csv"
        assert refusal(table, f"path,label\n{name},x\n") == f"'{table}' names '{name}', outside its folder."


def test_a_parquet_file_of_kilobytes_that_would_be_terabytes() -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    long = arrow.DictionaryArray.from_arrays(arrow.array([0] * 900_000, arrow.int32()), ["x" * 1_000_000])
    buffer = io.BytesIO()
    parquet.write_table(arrow.table({"path": long, "label": ["a"] * 900_000}), buffer, compression="zstd")
    assert len(buffer.getvalue()) < 20_000
    with pytest.raises(UserError) as refused:
        read_table(buffer.getvalue(), "m.parquet")
    assert str(refused.value) == "Manifest 'm.parquet' can't be read (a cell has more than 4096 characters)."
