"""The cross matrix from records alone: its scores, the loss away from home, and cells that have none."""

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from simulated import FOUR, Reader, Study
from sklearn.metrics import f1_score

from benchmark.records.outcomes import Outcome
from benchmark.records.record import DataFacts, ExternalFacts, Predictions, Record
from benchmark.reporting.breakdown.cross_matrix import cross_lines, cross_matrices, cross_sentences
from benchmark.reporting.leaderboard import read_board, write_leaderboard
from benchmark.reporting.results import load_results

Runs = list[tuple[Record, Predictions | None]]
Store = Callable[[Runs], Path]
READER = FOUR[0]


@dataclass(frozen=True)
class External(Study):
    """One set trained, another tested, which may lack a class."""

    trained: str = ""
    tested: str = ""
    lacks: str = ""
    removed: int | None = 0

    @property
    def data(self) -> DataFacts:
        home = Study(name=self.trained).data
        facts = ExternalFacts(
            trained_on=self.trained,
            tested_on=self.tested,
            trained_fingerprint=home.fingerprint,
            tested_fingerprint=Study(name=self.tested).data.fingerprint,
            home_split_hash=home.split_hash,
            of_training=1000,
        )
        unscored = (self.lacks,) if self.lacks else ()
        return super().data.model_copy(update={"external": facts, "unscored": unscored})

    def predictions(self, skill: float, seed: int = 0) -> Predictions:
        found = super().predictions(skill, seed)
        if not self.lacks:
            return found
        return found.of((found.parts != "test") | (found.labels != self.classes.index(self.lacks)))


def pair(trained: str, tested: str, **changes: object) -> External:
    return External(
        name=f"{trained}-tested-on-{tested}",
        split="external",
        kind="external",
        trained=trained,
        tested=tested,
        **changes,
    )  # type: ignore[arg-type]


def crossed(skill_away: float = 1.5, **changes: object) -> Runs:
    """Return the runs of two sets, each at home and on the other, which is read worse."""
    worse = replace(READER, skill=skill_away)
    homes = [Study(name=name).run(READER) for name in ("here", "there")]
    return [*homes, pair("here", "there", **changes).run(worse), pair("there", "here").run(worse)]


def test_every_cell_has_the_score_of_its_predictions(results: Store) -> None:
    runs = crossed()
    [matrix] = cross_matrices(read_board(results(runs)))
    assert matrix.sets == ("here", "there")
    assert set(matrix.cells) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    away = runs[2][1]
    assert away is not None
    test = away.part("test")
    expected = f1_score(test.labels, test.probabilities.argmax(axis=1), average="macro")
    cell = matrix.cells[0, 1]
    assert cell.macro_f1 == pytest.approx(expected)
    assert cell.loss == pytest.approx(matrix.cells[0, 0].macro_f1 - expected)
    assert cell.interval is not None
    assert cell.interval.low < expected < cell.interval.high
    assert cell.loss_interval is not None
    assert 0 < cell.loss_interval.low < cell.loss < cell.loss_interval.high
    assert matrix.cells[0, 0].loss is None


def test_the_interval_of_the_loss_is_wider_than_either_score_s(results: Store) -> None:
    """Independent test images: the variances add up."""
    [matrix] = cross_matrices(read_board(results(crossed())))
    home, away = matrix.cells[0, 0], matrix.cells[0, 1]

    def width(interval: object) -> float:
        return float(interval.high - interval.low)  # type: ignore[attr-defined]

    both = np.hypot(width(home.interval), width(away.interval))
    assert width(away.loss_interval) == pytest.approx(both, rel=0.15)


def test_home_and_away_are_compared_on_the_classes_that_both_have(results: Store) -> None:
    runs = crossed(lacks="notumor")
    [matrix] = cross_matrices(read_board(results(runs)))
    cell = matrix.cells[0, 1]
    assert cell.classes == ("glioma", "meningioma", "pituitary")
    test = runs[0][1].part("test")  # type: ignore[union-attr]
    mine = test.labels != 2
    labels, said = test.labels[mine], test.probabilities[mine].argmax(axis=1)
    expected = f1_score(labels, said, labels=[0, 1, 3], average="macro")
    assert cell.home_macro_f1 == pytest.approx(expected)
    assert cell.macro_f1 is not None
    assert cell.loss == pytest.approx(expected - cell.macro_f1)


def test_a_cell_that_could_not_be_trained_says_why(results: Store) -> None:
    runs = crossed()
    record, _ = runs[2]
    why = "there holds so much of these images that no training image of glioma is left: 900 stand in both sets."
    failed = record.model_copy(update={"outcome": Outcome.BAD_DATA, "reason": why})
    matrices = cross_matrices(read_board(results([*runs[:2], (failed, None), runs[3]])))
    cell = matrices[0].cells[0, 1]
    assert (cell.macro_f1, cell.loss) == (None, None)
    assert matrices[0].remarks == (f"here tested on there: bad_data. {why}",)
    [line] = [line for line in cross_lines(matrices) if (line["trained_on"], line["tested_on"]) == ("here", "there")]
    assert (line["status"], line["reason"]) == ("bad_data", why)
    assert "none on there (bad_data)" in cross_sentences(matrices)[0]


def test_what_was_left_out_is_said(results: Store) -> None:
    [matrix] = cross_matrices(read_board(results(crossed(removed=120))))
    assert matrix.cells[0, 1].left_out == 120
    [remark] = matrix.remarks
    assert remark.startswith("here tested on there: 120 of 1000 training images are left out, since there holds them")


def test_a_leak_at_home_is_said_since_the_loss_then_is_too_large(results: Store) -> None:
    leaky = replace(Study(name="here"), leaks=("59 of 560 test images are identical to training images",))
    [matrix] = cross_matrices(read_board(results([leaky.run(READER), *crossed()[1:]])))
    [remark] = matrix.remarks
    assert remark.startswith("here at home: 59 of 560 test images are identical to training images. Its score there")


def test_seeds_are_averaged_and_networks_kept_apart(results: Store) -> None:
    other = Reader("timm/resnet50", "torch", 3.0, 92.0, 1710.0, 23.5, 1.3)
    runs: Runs = []
    for seed in (0, 1):
        for study in (Study(name="here"), Study(name="there"), pair("here", "there"), pair("there", "here")):
            runs += [study.run(READER, seed), study.run(other, seed)]
    matrices = cross_matrices(read_board(results(runs)))
    assert sorted(matrix.name for matrix in matrices) == ["timm/resnet50", "torch/baseline_cnn"]
    for matrix in matrices:
        assert len(matrix.cells) == 4
        scores = [result.values["macro_f1"] for result in matrix.cells[0, 1].row.results]
        assert len(scores) == 2
        assert matrix.cells[0, 1].macro_f1 == pytest.approx(np.mean(scores))


def test_two_sets_of_one_name_are_told_apart(results: Store) -> None:
    facts = pair("1", "1").data.external
    assert facts is not None
    other = Study(name="1", classes=("glioma", "meningioma", "notumor", "other")).data.fingerprint
    study = pair("1", "1")
    record, predictions = study.run(READER)
    external = facts.model_copy(update={"tested_fingerprint": other})
    data = record.data.model_copy(update={"external": external})
    out = results([Study(name="1").run(READER), (record.model_copy(update={"data": data}), predictions)])
    [matrix] = cross_matrices(read_board(out))
    assert len(set(matrix.sets)) == 2
    assert all(name.startswith("1 #") for name in matrix.sets)


def test_a_board_without_crossed_runs_has_no_matrix(results: Store, undrawn: None) -> None:
    out = results([Study().run(READER)])
    (out / "cross_matrix.csv").write_text("of an earlier board")
    write_leaderboard(out)
    assert not (out / "cross_matrix.csv").exists()
    assert "Trained on each set" not in (out / "leaderboard.md").read_text()


def test_every_output_shows_it(results: Store) -> None:
    out = results(crossed())
    written = write_leaderboard(out)
    assert written.answers[0].startswith("torch/baseline_cnn, trained on here: macro-F1 0.")
    assert not any("tested-on" in line for line in written.answers), "answers of each pair would be many"
    with (out / "cross_matrix.csv").open(encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == 4
    markdown = (out / "leaderboard.md").read_text()
    assert "| trained on | tested on here | tested on there |" in markdown
    assert "**0." in markdown
    assert "loss 0." in markdown
    assert '<table class="cross">' in (out / "leaderboard.html").read_text()
    assert (out / "plot_cross_matrix.svg").exists()
    frame = load_results(out).cross_matrix()
    assert frame[["trained_on", "tested_on"]].values.tolist() == [
        [a, b] for a in ("here", "there") for b in ("here", "there")
    ]
