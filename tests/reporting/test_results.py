"""``benchmark.load_results``: results as pandas frames."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from all_tables import write_tables
from simulated import FOUR, Study
from sklearn.metrics import f1_score

import benchmark
from benchmark.cli.main import main
from benchmark.errors import UserError
from benchmark.records.outcomes import Outcome
from benchmark.records.store import RecordStore
from benchmark.reporting.leaderboard import read_board

SMALL = Study(patients=24, slices=2)


def test_runs_predictions_and_history_belong_together(results) -> None:
    failed = SMALL.run(FOUR[2], outcome=Outcome.OOM, reason="no memory", history=())
    out = results([SMALL.run(FOUR[0]), SMALL.run(FOUR[1]), failed])
    found = benchmark.load_results(out)
    assert len(found.runs) == 3
    assert found.problems == ()
    scored = found.runs[found.runs["status"] == "ok"].set_index("key")
    assert set(found.predictions["key"]) == set(scored.index)
    test = found.predictions[found.predictions["part"] == "test"]
    for key, lines in test.groupby("key", observed=True):
        score = f1_score(lines["label"].astype(str), lines["predicted"].astype(str), average="macro")
        assert score == pytest.approx(scored.loc[key, "macro_f1"])
        assert (lines["label"].astype(str) != lines["predicted"].astype(str)).sum() == (~lines["correct"]).sum()
    chances = test[[f"p_{name}" for name in SMALL.classes]]
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5)
    assert len(found.history) == 20
    assert found.history.groupby("key", observed=True)["best"].sum().eq(1).all()


def test_columns_have_types_that_hold_what_is_missing(results) -> None:
    other = Study(name="cheng", classes=("meningioma", "glioma", "pituitary"), negative_class=None, grouped=False)
    found = benchmark.load_results(results([SMALL.run(FOUR[0]), replace(other, patients=30).run(FOUR[1])]))
    runs = found.runs.set_index("data")
    assert str(runs["fn_notumor"].dtype) == "Int64"
    assert pd.isna(runs.loc["cheng", "fn_notumor"])
    assert str(runs["synthetic"].dtype) == "boolean"
    assert str(runs["limit"].dtype) == "Int64"
    assert runs["macro_f1"].dtype == np.float64
    assert not [name for name in runs.columns if runs[name].dtype == object]
    probabilities = found.predictions["p_notumor"]
    assert probabilities.dtype == np.float32
    assert probabilities.isna().sum() == (found.predictions["key"] == runs.loc["cheng", "key"]).sum()
    assert found.predictions["group"].isna().any()


def test_several_folders_are_one_and_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    for day, reader in zip(("monday", "tuesday"), FOUR, strict=False):
        RecordStore(tmp_path / day).write(*SMALL.run(reader))
    (tmp_path / "tuesday" / "records" / "foreign").mkdir()
    found = benchmark.load_results(tmp_path / "monday", str(tmp_path / "tuesday"))
    assert len(found.runs) == 2
    assert ["records/foreign is not used" in text for text in found.problems] == [True]


def test_folders_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        benchmark.load_results(tmp_path / "nowhere")
    with pytest.raises(UserError, match="has no records"):
        benchmark.load_results(tmp_path)


def test_no_framework_is_imported(results) -> None:
    out = results([SMALL.run(FOUR[0])])
    code = (
        "import sys, benchmark; assert 'pandas' not in sys.modules; benchmark.load_results(sys.argv[1]); "
        "print(sorted({'torch', 'tensorflow', 'keras', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(out)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


KEPT = Path(__file__).parents[2] / "results" / "boards" / "nickparvar-v1-128px"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables of the kept board, made anew."""
    folder = tmp_path_factory.mktemp("tables")
    write_tables(read_board(KEPT), folder)
    return folder


def test_the_leaderboard_as_a_frame_is_the_table(tables: Path) -> None:
    board = benchmark.load_results(KEPT).leaderboard()
    table = pd.read_csv(tables / "leaderboard.csv")
    assert list(board["backbone"]) == list(table["backbone"])
    for name in ("rank", "macro_f1", "macro_f1_low", "missed_glioma", "infer_images_per_s"):
        assert np.allclose(board[name].astype(float), table[name], equal_nan=True), name
    assert str(board["rank"].dtype) == "Int64"


def test_two_rows_are_compared_as_in_the_table_of_pairs(tables: Path) -> None:
    results = benchmark.load_results(KEPT)
    pairs = pd.read_csv(tables / "comparisons.csv").set_index(["first", "second"])
    line = pairs.loc[("timm/resnet50", "timm/efficientnet_b0")]
    found = results.compare("timm/resnet50", "timm/efficientnet_b0")
    assert found.difference == pytest.approx(line["macro_f1_difference"])
    assert (found.low, found.high) == pytest.approx((line["difference_low"], line["difference_high"]))
    assert (found.p_adjusted, found.p_mcnemar) == pytest.approx((line["p_adjusted"], line["p_mcnemar"]))
    assert found.better == line["better"] == "timm/resnet50"
    turned = results.compare("timm/efficientnet_b0", "timm/resnet50")
    assert turned.difference == -found.difference
    assert (turned.low, turned.high) == (-found.high, -found.low)
    assert turned.better == found.better
    assert len(turned.images) == len(found.images)
    gained = found.images["correct_first"].sum() - found.images["correct_second"].sum()
    right = results.runs.set_index("backbone")["accuracy"] * 1311
    assert gained == pytest.approx(right["timm/resnet50"] - right["timm/efficientnet_b0"])
    assert (found.images["predicted_first"].astype(str) != found.images["predicted_second"].astype(str)).all()


def test_the_command_compares_as_python_does(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = "timm/resnet50", "timm/efficientnet_b0"
    expected = benchmark.load_results(KEPT).compare(*names)
    before = {path.name: path.stat().st_mtime_ns for path in KEPT.iterdir()}
    assert main(["leaderboard", str(KEPT), "--compare", *names, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for name in ("difference", "low", "high", "p_adjusted", "p_mcnemar", "better"):
        assert found[name] == getattr(expected, name)
    assert (found["first"], found["second"]) == names
    assert len(found["images"]) == len(expected.images)
    assert set(found["images"][0]) == set(expected.images.columns)
    assert found["images"][0]["image_id"] == expected.images["image_id"][0]

    assert main(["leaderboard", str(KEPT), "--compare", *names]) == 0
    shown = capsys.readouterr().out
    assert f"macro-F1 of timm/resnet50 less that of timm/efficientnet_b0: +{expected.difference:.3f} (95 %" in shown
    assert f"McNemar's test of accuracy, not corrected: p = {expected.p_mcnemar:.2g}" in shown
    assert "significantly better: timm/resnet50" in shown
    assert f"They predict {len(expected.images)} test images differently" in shown
    assert expected.images["image_id"][0] in shown
    assert f"... and {len(expected.images) - 20} more" in shown
    assert {path.name: path.stat().st_mtime_ns for path in KEPT.iterdir()} == before, "something was written"

    assert main(["leaderboard", str(KEPT), "--compare", *names, "--out", str(tmp_path)]) == 2
    assert "writes nothing" in capsys.readouterr().err
    assert main(["leaderboard", str(KEPT), "--compare", "timm/resnet5", "timm/efficientnet_b0"]) == 2
    assert "Did you mean 'timm/resnet50'?" in capsys.readouterr().err


def test_rows_that_can_not_be_compared_are_refused_in_a_sentence() -> None:
    results = benchmark.load_results(KEPT)
    with pytest.raises(UserError, match="not two rows of one block"):
        results.compare("timm/tf_efficientnet_lite0", "timm/resnet50")
    with pytest.raises(UserError, match=r"No row is named 'timm/resnet5'. Did you mean 'timm/resnet50'\?"):
        results.compare("timm/resnet5", "timm/efficientnet_b0")
