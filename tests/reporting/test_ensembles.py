"""Ensembles from records alone: rows that are averages of others."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.cli.main import main
from benchmark.errors import UserError
from benchmark.evaluation.metrics import confusion_matrix as confusion
from benchmark.evaluation.metrics import decide, macro_f1
from benchmark.reporting.board.rows import evaluate
from benchmark.reporting.ensembles import Ensembles, fit_shares, with_ensembles
from benchmark.reporting.leaderboard import read_board
from tests.reporting.conftest import Runs
from tests.reporting.simulated import FOUR, TWELVE, Reader, Study

STUDY = Study()


def read(readers: tuple[Reader, ...], seeds: tuple[int, ...] = (0,), study: Study = STUDY) -> list[Any]:
    return [evaluate(*study.run(reader, seed)) for reader in readers for seed in seeds]


def test_it_is_the_mean_of_its_members_probabilities() -> None:
    two = read(FOUR[:2])
    *same, ensemble = with_ensembles(two, ["torch/baseline_cnn+keras/baseline_cnn"])
    assert same == two
    by_id = [dict(zip(one.predictions.image_ids, one.predictions.probabilities, strict=True)) for one in two]
    for name, mean in zip(ensemble.predictions.image_ids, ensemble.predictions.probabilities, strict=True):
        np.testing.assert_allclose(mean, (by_id[0][name] + by_id[1][name]) / 2, atol=1e-6)
    test = ensemble.predictions.part("test")
    matrix = confusion(test.labels, decide(test.probabilities), 4)
    assert ensemble.scores.test.macro_f1 == macro_f1(matrix)
    assert ensemble.record.backbone.name == "torch/baseline_cnn + keras/baseline_cnn"


def test_it_costs_what_its_members_cost_together() -> None:
    (first, second, ensemble) = with_ensembles(read(FOUR[:2]), ["torch/baseline_cnn+keras/baseline_cnn"])
    own = [one.record.throughput for one in (first, second)]
    together = ensemble.record.throughput
    assert together.infer_images_per_s == pytest.approx(1 / sum(1 / speed.infer_images_per_s for speed in own))
    assert together.latency_p50_ms == pytest.approx(sum(speed.latency_p50_ms for speed in own))
    assert ensemble.record.network.parameters == sum(one.record.network.parameters for one in (first, second))


def test_the_best_are_chosen_on_validation_images_and_not_on_test_images() -> None:
    made = read(FOUR)
    by_validation = sorted(made, key=lambda one: -one.scores.val_macro_f1)[:2]
    (ensemble,) = with_ensembles(made, ["top2"])[len(made) :]
    assert set(ensemble.record.backbone.name.split(" + ")) == {one.record.backbone.name for one in by_validation}
    # a row that would win on test images alone is not preferred
    flattered = [evaluate(one.record, _with_test_labels_known(one)) if one is made[0] else one for one in made]
    assert flattered[0].scores.test.macro_f1 == 1.0
    (again,) = with_ensembles(flattered, ["top2"])[len(made) :]
    assert again.record.backbone.name == ensemble.record.backbone.name


def _with_test_labels_known(result: Any) -> Any:

    predictions = result.predictions
    known = np.eye(4, dtype=np.float32)[predictions.labels]
    probabilities = np.where((predictions.parts == "test")[:, None], known, predictions.probabilities)
    return replace(predictions, probabilities=probabilities)


def test_seeds_together_are_a_row_of_their_own() -> None:
    made = read(FOUR[:2], seeds=(0, 1, 2))
    ensembles = with_ensembles(made, ["seeds"])[len(made) :]
    assert [one.record.backbone.name for one in ensembles] == [
        "torch/baseline_cnn (3 seeds)", "keras/baseline_cnn (3 seeds)"
    ]  # fmt: skip
    single = np.mean([one.scores.test.macro_f1 for one in made[:3]])
    assert ensembles[0].scores.test.macro_f1 > single, "independent errors average out"


def test_seeds_and_folds_go_together_one_by_one() -> None:
    studies = Study().in_folds(2)
    made = [one for study in studies for one in read(FOUR[:2], seeds=(0, 1), study=study)]
    ensembles = with_ensembles(made, ["torch/baseline_cnn+keras/baseline_cnn"])[len(made) :]
    assert sorted((one.record.data.fold, one.record.seed) for one in ensembles) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert len({one.row_key for one in ensembles}) == 1, "they are one row"


def test_shares_are_chosen_on_validation_images() -> None:
    weak, strong = TWELVE[7], TWELVE[10]
    made = read((weak, strong))
    name = f"{weak.name}+{strong.name}"
    (ensemble,) = with_ensembles(made, [name], "validation")[2:]
    assert "shares 0.0" in ensemble.record.backbone.note, ensemble.record.backbone.note
    shares = fit_shares(np.array([0, 1]), np.array([[[0.9, 0.1], [0.1, 0.9]], [[0.5, 0.5], [0.5, 0.5]]]))
    assert shares[0] > 0.99
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("torch/baseline_cnn+timm/resnet18", "no row of 'timm/resnet18' is ok"),
        ("torch/baseline_cnn", "give top3, seeds, or different backbones joined by"),
        ("top1", "give at least top2"),
        ("top9", "no data set and split has so many rows"),
        ("seeds", "no row has several seeds"),
    ],
)
def test_what_can_not_be_is_refused(asked: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        with_ensembles(read(FOUR), [asked])


def test_an_ensemble_is_ranked_as_any_row(results: Callable[[Runs], Path]) -> None:
    alike = [reader for reader in TWELVE if reader.pretrained][:4]
    out = results(STUDY.run(reader) for reader in alike)
    board = read_board(out, ensembles=Ensembles(("top3",)))
    rows = {row.values["backbone"]: row for row in board.rows}
    (name,) = [name for name in rows if " + " in name]
    assert rows[name].rank == 1
    assert rows[name].macro_f1 == max(row.macro_f1 for row in board.rows)
    assert len(rows) == 5
    assert "macro_f1" in rows[name].intervals
    assert not read_board(out).rows[0].values["backbone"].count(" + "), "without asking there is none"


def test_the_command_writes_it(results: Callable[[Runs], Path], undrawn: None) -> None:
    out = results(STUDY.run(reader) for reader in FOUR[:2])
    assert main(["leaderboard", str(out), "--ensemble", "top2"]) == 0
    table = (out / "leaderboard.csv").read_text()
    assert "torch/baseline_cnn + keras/baseline_cnn" in table or "keras/baseline_cnn + torch/baseline_cnn" in table
    assert "ensemble" not in json.dumps([path.name for path in (out / "records").iterdir()]), (
        "no record is made of it"
    )
    assert main(["leaderboard", str(out), "--ensemble", "nobody+torch/baseline_cnn"]) == 2
