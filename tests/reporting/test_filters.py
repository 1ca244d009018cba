"""``python -m benchmark leaderboard DIR [DIR ...] --filter --sort --columns``, as a user types it."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated import FOUR, TWELVE, Study

from benchmark.cli.main import main
from benchmark.records.outcomes import Outcome
from benchmark.records.store import RecordStore

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = Study(patients=24, slices=2)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "leaderboard.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Return two machines' results; one run is in both, and one failed on the first machine only."""
    first, second = tmp_path / "monday", tmp_path / "tuesday"
    for reader in FOUR[:2]:
        RecordStore(first).write(*SMALL.run(reader))
    RecordStore(first).write(*SMALL.run(FOUR[3], outcome=Outcome.OOM, reason="no memory"))
    for reader in FOUR[1:]:
        RecordStore(second).write(*SMALL.run(reader))
    return first, second


def test_folders_are_merged_and_a_run_in_both_is_shown_once(two: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = two
    out = tmp_path / "both"
    assert main(["leaderboard", str(first), str(second), "--out", str(out)]) == 0
    rows = rows_of(out)
    assert sorted(row["backbone"] for row in rows) == sorted(reader.name for reader in FOUR)
    assert {row["status"] for row in rows} == {"ok"}  # what failed on Monday was done on Tuesday
    text = (out / "leaderboard.md").read_text()
    assert f"is not used: the same run is in '{first}'." in text
    assert f"is not used: the same run is in '{second}'." in text
    assert not (first / "leaderboard.csv").exists()


def test_a_run_that_came_out_otherwise_elsewhere_is_said(two: tuple[Path, Path]) -> None:
    first, second = two
    record, predictions = SMALL.run(FOUR[1])
    assert predictions is not None
    other = predictions.probabilities[:, ::-1].copy()
    RecordStore(second).write(record, replace(predictions, probabilities=other))
    assert main(["leaderboard", str(first), str(second)]) == 0
    assert (
        f"the same run is in '{first}', with probabilities that differ by up to 0."
        in (first / "leaderboard.md").read_text()
    )


def test_rows_and_columns_are_chosen_and_ranks_stay(two: tuple[Path, Path]) -> None:
    _, folder = two
    assert main(["leaderboard", str(folder)]) == 0
    ranks = {row["backbone"]: row["rank"] for row in rows_of(folder)}
    options = ["--filter", "framework=torch", "--filter", "params_m<10"]
    options += ["--columns", "backbone,rank,data,macro_f1,fn_glioma"]
    assert main(["leaderboard", str(folder), *options]) == 0
    assert {row["backbone"] for row in rows_of(folder)} == set(ranks), "the full table was written over"
    rows = rows_of(folder / "view")
    assert list(rows[0]) == ["backbone", "rank", "data", "macro_f1", "fn_glioma"]
    assert [row["backbone"] for row in rows] == ["timm/tf_efficientnet_lite0"]
    assert rows[0]["rank"] == ranks["timm/tf_efficientnet_lite0"]
    text = (folder / "view" / "leaderboard.md").read_text()
    assert "1 of 3 rows are shown (framework=torch; params_m&lt;10); ranks are among all." in text
    assert "| backbone | rank | data | macro_f1 | fn_glioma |" in text
    assert "keras/resnet50" not in text


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("backbone=KERAS/*", {"keras/baseline_cnn", "keras/resnet50"}),
        ("framework!=tensorflow", {"timm/tf_efficientnet_lite0"}),
        ("limit=", {"keras/baseline_cnn", "keras/resnet50", "timm/tf_efficientnet_lite0"}),
        ("infer_images_per_s>=327", {"keras/baseline_cnn", "timm/tf_efficientnet_lite0"}),
        ("library=keras,timm", {"keras/resnet50", "timm/tf_efficientnet_lite0"}),
    ],
)
def test_conditions(two: tuple[Path, Path], condition: str, names: set[str]) -> None:
    assert main(["leaderboard", str(two[1]), "--filter", condition, "--columns", "backbone"]) == 0
    assert {row["backbone"] for row in rows_of(two[1] / "view")} == names


def test_sorting_both_ways_leaves_empty_cells_last(tmp_path: Path) -> None:
    record, predictions = SMALL.run(FOUR[0])
    unmeasured = record.throughput.model_copy(update={"infer_images_per_s": None})
    RecordStore(tmp_path).write(record.model_copy(update={"throughput": unmeasured}), predictions)
    for reader in TWELVE[2:5]:
        RecordStore(tmp_path).write(*SMALL.run(reader))
    for sort, best in (("infer_images_per_s", "keras_cv/resnet50"), ("-infer_images_per_s", "timm/resnet50")):
        assert main(["leaderboard", str(tmp_path), "--sort", sort]) == 0
        rows = rows_of(tmp_path / "view")
        assert rows[0]["backbone"] == best
        assert rows[-1]["backbone"] == FOUR[0].name


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--filter", "macro_f1"], "give a column, one of = != < <= > >=, and a value"),
        (["--filter", "macro_f1>high"], "'high' is not a number"),
        (["--filter", "macrof1>0.5"], "there is no column 'macrof1'. Did you mean 'macro_f1'? columns.csv has"),
        (["--sort", "speed"], "--sort speed: there is no column 'speed'."),
        (["--sort", "macro_f1_hihg"], "Did you mean 'macro_f1_high'?"),
        (["--columns", "rank,nonsense"], "there is no column 'nonsense'."),
        (["--filter", "backbone=alexnet"], "none of the 3 rows meets this; nothing is written."),
    ],
)
def test_a_wrong_view_is_one_sentence_and_writes_nothing(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    before = sorted(two[0].iterdir())
    assert main(["leaderboard", str(two[0]), *options]) == 2
    *progress, sentence = capsys.readouterr().err.splitlines()
    assert said in sentence
    assert len(sentence) < 250
    assert len(progress) <= 1
    assert sorted(two[0].iterdir()) == before


def test_a_part_of_the_board_never_takes_the_place_of_the_whole(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = map(str, two)
    part, both = ["--filter", "backbone=keras*"], tmp_path / "both"
    assert main(["leaderboard", first, second, "--out", str(both)]) == 0
    whole = (both / "leaderboard.csv").read_bytes()
    for target in (first, str(both)):
        assert main(["leaderboard", first, second, "--out", target, *part]) == 2
        assert "holds the full tables" in capsys.readouterr().err
    assert (both / "leaderboard.csv").read_bytes() == whole
    assert not (two[0] / "leaderboard.csv").exists()

    own = tmp_path / "keras"
    for sort in ("macro_f1", "-macro_f1"):  # a part may take the place of a part
        assert main(["leaderboard", first, second, "--out", str(own), *part, "--sort", sort]) == 0
    assert {row["backbone"] for row in rows_of(own)} == {"keras/baseline_cnn", "keras/resnet50"}
    said = (own / "view.txt").read_text()
    assert said == f"A part of the board of {first}, {second}: --filter 'backbone=keras*' --sort=-macro_f1\n"
    assert main(["leaderboard", first, second, "--out", str(own)]) == 0
    assert (own / "leaderboard.csv").read_bytes() == whole
    assert not (own / "view.txt").exists()
    assert main(["leaderboard", first, second, "--out", str(own), *part]) == 2


def test_the_rows_for_programs(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["leaderboard", str(two[0]), "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    table = {row["backbone"]: row for row in rows_of(two[0])}
    assert set(table) == {row["backbone"] for row in found["rows"]}
    for row in found["rows"]:
        assert row["macro_f1"] == (float(text) if (text := table[row["backbone"]]["macro_f1"]) else None)
    assert Path(found["page"]).is_file()
    assert found["answers"]
    assert found["problems"] == []
    assert main([*words, "--columns", "backbone,rank", "--sort", "-rank"]) == 0
    assert all(list(row) == ["backbone", "rank"] for row in json.loads(capsys.readouterr().out)["rows"])


def test_classes_in_another_order_are_matched_by_name(tmp_path: Path) -> None:
    record, predictions = SMALL.run(FOUR[0])
    other, said = SMALL.run(FOUR[1])
    assert said is not None
    turned = other.data.class_names[::-1]
    shuffled = replace(said, labels=3 - said.labels, probabilities=said.probabilities[:, ::-1].copy())
    RecordStore(tmp_path / "straight").write(record, predictions)
    RecordStore(tmp_path / "straight").write(other, said)
    RecordStore(tmp_path / "turned").write(record, predictions)
    data = other.data.model_copy(update={"class_names": turned})
    RecordStore(tmp_path / "turned").write(other.model_copy(update={"data": data}), shuffled)
    for folder in ("straight", "turned"):
        assert main(["leaderboard", str(tmp_path / folder)]) == 0
    straight, found = (
        {row["backbone"]: row for row in rows_of(tmp_path / folder)} for folder in ("straight", "turned")
    )
    assert set(straight) == set(found)
    for name, row in straight.items():
        assert {c: found[name][c] for c in ("block", "rank", "missed_glioma")} == {
            c: row[c] for c in ("block", "rank", "missed_glioma")
        }
        for column in ("macro_f1", "auroc"):  # classes are summed in another order
            assert float(found[name][column]) == pytest.approx(float(row[column]), abs=1e-12)
    assert "has its classes in another order" in (tmp_path / "turned" / "leaderboard.md").read_text()


def test_other_labels_for_the_same_images_are_named_and_not_ranked(tmp_path: Path) -> None:
    for reader in FOUR[:2]:
        RecordStore(tmp_path).write(*SMALL.run(reader))
    record, said = SMALL.run(replace(FOUR[2], skill=9.0))  # the best of all, were its labels right
    assert said is not None
    RecordStore(tmp_path).write(record, replace(said, labels=np.roll(said.labels, 1)))
    assert main(["leaderboard", str(tmp_path)]) == 0
    rows = {row["backbone"]: row for row in rows_of(tmp_path)}
    assert rows[record.backbone.name]["status"] == "error"
    assert rows[record.backbone.name]["rank"] == ""
    assert "are not those of the other runs on this split" in rows[record.backbone.name]["reason"]
    assert all(rows[reader.name]["rank"] for reader in FOUR[:2])
