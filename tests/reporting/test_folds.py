"""Folds of one cross-validation: one row, scored on the images of all of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated import FOUR, Study
from sklearn.metrics import brier_score_loss, f1_score

from benchmark.records.outcomes import Outcome
from benchmark.reporting.board.reproduce import command_of
from benchmark.reporting.leaderboard import read_board

SMALL = Study(patients=24, slices=2)
FIRST, SECOND = FOUR[:2]


def pooled(runs: list) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probabilities of the test images of all runs."""
    tests = [predictions.part("test") for _, predictions in runs]
    return np.concatenate([test.labels for test in tests]), np.concatenate([test.probabilities for test in tests])


def test_a_row_of_folds_is_scored_on_all_their_images_and_auroc_is_the_mean_of_folds(tables, tmp_path: Path) -> None:
    runs = [fold.run(FIRST) for fold in SMALL.in_folds(3)]
    by_run, board, text = tables(runs)
    assert list(by_run["split"]) == ["fold-1-of-3", "fold-2-of-3", "fold-3-of-3"]
    (row,) = (line for _, line in board.iterrows())
    assert (row["split"], row["n_runs"], row["rank"], row["n_test"]) == ("3 folds", 3, 1, 144)
    labels, chances = pooled(runs)
    said = chances.argmax(axis=1)
    assert row["macro_f1"] == pytest.approx(f1_score(labels, said, average="macro"))
    assert row["macro_f1"] != pytest.approx(by_run["macro_f1"].mean(), abs=1e-6)
    assert row["macro_f1_fold_sd"] == pytest.approx(by_run["macro_f1"].std(ddof=1))
    assert row["auroc"] == pytest.approx(by_run["auroc"].mean())
    for c, name in enumerate(SMALL.classes):
        assert row[f"fn_{name}"] == ((labels == c) & (said != c)).sum()
        assert row[f"support_{name}"] == (labels == c).sum()
        assert row[f"fn_{name}_low"] <= row[f"fn_{name}"] <= row[f"fn_{name}_high"]
    squares = sum(brier_score_loss(labels == c, chances[:, c]) for c in range(4))
    assert row["brier"] == pytest.approx(squares, rel=1e-5)
    assert row["patients"] == 72
    assert "macro_f1_sd" not in board.columns  # one seed: no spread but between folds
    assert f"fn glioma (of {(labels == 0).sum()})" in text
    assert "each of 144 images is tested" in text


def test_sensitivity_takes_the_threshold_of_each_fold(tables) -> None:
    runs = [fold.run(FIRST) for fold in SMALL.in_folds(3)]
    reported = healthy = 0
    for _, predictions in runs:
        validation, test = predictions.part("validation"), predictions.part("test")
        known = np.sort(1 - validation.probabilities[validation.labels == 2, 2].astype(float))
        threshold = known[int(np.ceil(0.95 * len(known))) - 1]
        ill = test.labels != 2
        reported += ((1 - test.probabilities[:, 2].astype(float)) > threshold)[ill].sum()
        healthy += (~ill).sum()
    _, board, _ = tables(runs)
    assert board["sensitivity_at_95"].item() == pytest.approx(reported / (144 - healthy))


def test_every_fold_of_every_row_is_shown(tables) -> None:
    by_run, _, text = tables([fold.run(reader) for fold in SMALL.in_folds(3) for reader in (FIRST, SECOND)])
    section = text.split("### By fold")[1].split("###")[0]
    for name, lines in by_run.groupby("backbone"):
        cells = " | ".join(f"{value:.3f}" for value in lines["macro_f1"])
        spread = f"{lines['macro_f1'].mean():.3f} ± {lines['macro_f1'].std(ddof=1):.3f}"
        assert any(name in line and cells in line and spread in line for line in section.splitlines())


@pytest.mark.parametrize(
    ("kind", "removed", "name"),
    [
        ("folds", None, "3 folds"),
        ("official-folds", None, "3 official folds"),
        ("slice", None, "3 slice folds"),
        ("folds", 7, "3 folds, deduplicated"),
    ],
)
def test_folds_of_every_kind_are_joined(tables, kind: str, removed: int | None, name: str) -> None:
    _, board, _ = tables([fold.run(FIRST) for fold in SMALL.in_folds(3, kind, removed)])
    assert list(board["split"]) == [name]


def test_some_of_the_folds_are_called_so_and_stand_apart(tables) -> None:
    folds = SMALL.in_folds(5)
    whole = [fold.run(FIRST) for fold in folds]
    _, board, _ = tables([*whole, *(fold.run(SECOND) for fold in folds[1:3])])
    places = dict(zip(board["backbone"], board["split"], strict=True))
    assert places == {FIRST.name: "5 folds", SECOND.name: "2 of 5 folds"}
    assert board["block"].nunique() == 2


def test_a_fold_that_failed_leaves_the_row_without_a_rank(tables) -> None:
    folds = SMALL.in_folds(3)
    failed = folds[2].run(SECOND, outcome=Outcome.OOM, reason="no memory")
    runs = [*(fold.run(FIRST) for fold in folds), *(fold.run(SECOND) for fold in folds[:2]), failed]
    _, board, _ = tables(runs)
    row = board.set_index("backbone").loc[SECOND.name]
    assert (row["split"], row["reason"]) == ("2 of 3 folds", "1 of 3 runs: no memory")
    assert row["block"] == "phantom, 3 folds, scratch, incomplete"
    assert np.isnan(row["rank"])
    assert row["n_test"] == 96


def test_folds_with_different_seeds_are_not_a_whole_row(tables) -> None:
    folds = SMALL.in_folds(2)
    _, board, _ = tables([folds[0].run(FIRST, 0), folds[0].run(FIRST, 1), folds[1].run(FIRST, 0)])
    assert board["reason"].item() == "Its folds have different seeds."
    assert board["block"].item().endswith("incomplete")


def test_seeds_of_folds_are_trainings_with_a_spread(tables) -> None:
    by_seed = [[fold.run(FIRST, seed) for fold in SMALL.in_folds(2)] for seed in (0, 1, 2)]
    _, board, text = tables([run for runs in by_seed for run in runs])
    row = board.iloc[0]
    scores = [f1_score(labels, chances.argmax(axis=1), average="macro") for labels, chances in map(pooled, by_seed)]
    assert row["n_runs"] == 6
    assert row["macro_f1"] == pytest.approx(np.mean(scores))
    assert row["macro_f1_sd"] == pytest.approx(np.std(scores, ddof=1))
    spread = f"{np.std(scores, ddof=1):.3f}"
    assert f"Seeds are resampled too: macro-F1 varies over them by {spread} (standard deviation)" in text


def test_a_latency_that_a_slow_fold_lacks_is_not_the_mean_of_the_others(tables) -> None:
    quick, slow = (fold.run(FIRST) for fold in SMALL.in_folds(2))
    lacking = slow[0].throughput.model_copy(update={"latency_p50_ms": 90.0, "latency_p95_ms": None})
    by_run, board, _ = tables([quick, (slow[0].model_copy(update={"throughput": lacking}), slow[1])])
    assert by_run["latency_p95_ms"].notna().tolist() == [True, False]
    assert board["latency_p50_ms"].item() == pytest.approx(by_run["latency_p50_ms"].mean())
    assert np.isnan(board["latency_p95_ms"].item())


def test_a_patient_in_several_folds_is_one_cluster(tables) -> None:
    """Folds by slice have a patient on both sides; their interval rests on patients all the same."""
    runs = []
    for fold in SMALL.in_folds(2, "slice"):
        record, predictions = fold.run(FIRST)
        groups = np.char.replace(predictions.groups, f"fold {fold.fold}", "patient")
        data = record.data.model_copy(update={"leaks": ("split by slice, as asked: patients are not kept apart",)})
        runs.append((record.model_copy(update={"data": data}), replace(predictions, groups=groups)))
    _, board, text = tables(runs)
    assert np.isnan(board["rank"].item())
    assert board["patients"].item() == 24
    assert "are computed from 24 patients (96 images)" in text


def test_folds_are_compared_by_the_corrected_t_test(tables, tmp_path: Path) -> None:
    tables(fold.run(reader) for fold in SMALL.in_folds(3) for reader in FOUR[:2])
    pairs = pd.read_csv(tmp_path / "comparisons.csv")
    assert pairs["p_nadeau_bengio"].between(0, 1).all()
    assert pairs["p_mcnemar"].between(0, 1).all()


def test_the_command_of_a_row_does_all_its_folds_though_several_commands_made_them(results) -> None:
    typed = "python -m benchmark --all --data scans.zip --split folds --folds {} --epochs 3"
    folds = SMALL.in_folds(3)
    runs = [fold.run(FIRST, provenance={"command": typed.format(k + 1)}) for k, fold in enumerate(folds)]
    begin = f"python -m benchmark --backbone {FIRST.name} --seed 0 --folds"
    (row,) = read_board(results(runs[:2])).rows
    assert command_of(row) == f"{begin} 1,2 --data scans.zip --split folds --epochs 3 --rerun"
    (row,) = read_board(results(runs)).rows
    assert command_of(row) == f"{begin} all --data scans.zip --split folds --epochs 3 --rerun"
