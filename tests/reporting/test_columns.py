"""The table of columns: what is declared there once stands in every output."""

import csv
import re
from collections import Counter

import pytest
from all_tables import write_tables
from simulated import FOUR, Study

from benchmark.reporting.board.columns import COLUMNS, all_columns, in_output, in_section
from benchmark.reporting.breakdown import budget, corruptions, cross_matrix, strata
from benchmark.reporting.breakdown.breakdowns import Breakdowns
from benchmark.reporting.documents.latex import latex
from benchmark.reporting.documents.markdown import markdown
from benchmark.reporting.leaderboard import read_board
from benchmark.reporting.page.page import page

STUDY = Study(patients=24, slices=2)


def test_every_column_has_its_own_name_and_a_sentence_of_help() -> None:
    assert [name for name, times in Counter(column.name for column in COLUMNS).items() if times > 1] == []
    assert [column.name for column in COLUMNS if not re.fullmatch(r".+\.", column.help)] == []
    assert [column.name for column in COLUMNS if ("{}" in column.name) != bool(column.per)] == []


def test_every_path_leads_to_a_field_of_a_record() -> None:
    record, _ = STUDY.run(FOUR[0])
    for column in COLUMNS:
        if isinstance(column.of_record, str) and column.of_record:
            *parents, last = column.of_record.split(".")
            owner = record
            for name in parents:
                owner = getattr(owner, name)
            assert last in (owner if isinstance(owner, dict) else type(owner).model_fields), column.name


def test_every_value_of_a_run_and_a_row_has_a_column(results) -> None:
    board = read_board(results([STUDY.run(FOUR[0], seed) for seed in (0, 1)]))
    names = set(all_columns(board.class_names, board.tumour_names))
    (row,) = board.rows
    assert set(row.line) <= names
    assert set(row.first.values) <= names
    assert row.values["patients"] == STUDY.patients  # runs share it: no mean, no spread
    assert "patients" not in row.spread


@pytest.mark.parametrize("column", [column for column in in_section("scores") if column.of_confusion])
def test_a_score_of_the_confusion_matrix_stands_in_every_output(column, results, tmp_path) -> None:
    out = results([STUDY.run(reader) for reader in FOUR])
    board = read_board(out)
    write_tables(board, out)
    assert {column.name, f"{column.name}_low", f"{column.name}_high"} <= set(
        (out / "leaderboard.csv").read_text().splitlines()[0].split(",")
    )
    row, text = board.rows[0], column.text(board.rows[0].values[column.name])
    assert row.intervals[column.name].low < row.values[column.name] < row.intervals[column.name].high
    assert f"| {column.title} |" in markdown(board, {}, Breakdowns())
    assert f"{text} ({column.ends(row.intervals[column.name])})" in (out / "report.md").read_text()
    html = page(board, {})
    assert f'title="{column.tooltip.replace(chr(39), "&#39;")}"' in html
    assert f"{text} <span" in html


def test_the_dictionary_tells_every_column_of_every_csv_file(results) -> None:
    out = results([STUDY.run(reader, seed) for reader in FOUR for seed in (0, 1)])
    write_tables(read_board(out), out)
    with (out / "columns.csv").open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    assert all(line["meaning"].endswith(".") for line in lines)
    for name in ("leaderboard.csv", "runs.csv", "comparisons.csv"):
        told = {line["column"] for line in lines if name in line["file"].split(", ")}
        head = (out / name).read_text(encoding="utf-8").splitlines()[0].split(",")
        assert set(head) <= told
        assert len(head) == len(set(head))


@pytest.mark.parametrize("table", [budget, corruptions, cross_matrix, strata])
def test_every_column_of_parts_of_a_row_has_a_sentence(table) -> None:
    assert [name for name, meaning in table.COLUMNS.items() if not re.fullmatch(r".+\.", meaning)] == []


def test_latex_has_the_columns_that_say_so(results) -> None:
    board = read_board(results([STUDY.run(FOUR[0])]))
    head = next(line for line in latex(board).splitlines() if line.startswith("Rank"))
    assert head.count("&") + 1 == len(in_output("latex", board.results[0].record.data))
