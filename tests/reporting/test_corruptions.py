"""Spoilt images on the board: the table, the file and the figure, and records that can't be used."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated import FOUR, Reader, Study

from benchmark.draws.corruptions import CORRUPTIONS, shown_cells
from benchmark.draws.randomness import image_numbers
from benchmark.records.corrupted import Corrupted, CorruptionFacts
from benchmark.records.record import Predictions, Record
from benchmark.records.store import RecordStore
from benchmark.reporting.breakdown.corruptions import robustness_of
from benchmark.reporting.leaderboard import read_board, write_leaderboard

STUDY = Study(name="clinic", synthetic=False, patients=40, slices=4)
Run = tuple[Record, Predictions, Corrupted]


def spoilt(study: Study, reader: Reader, names: tuple[str, ...] = tuple(CORRUPTIONS), *, loses: float = 0.1,
           seed: int = 0) -> Run:  # fmt: skip
    """Return a run that answers wrongly for one more image in ``1 / loses`` with each severity."""
    record, predictions = study.run(reader, seed)
    assert predictions is not None
    test = predictions.part("test")
    shown = shown_cells(image_numbers(test.image_ids), len(names))
    said = np.broadcast_to(test.probabilities.argmax(axis=1), shown.shape).copy()
    luck = np.random.default_rng(seed).uniform(size=shown.shape)
    wrong = luck < loses * np.arange(1, 6)[:, None]
    said[wrong] = (test.labels + 1)[np.nonzero(wrong)[2]] % len(study.classes)
    decisions = np.where(shown, said, -1).astype(np.int16)
    facts = CorruptionFacts(names=names, pictures=int(shown.sum()), images_per_s=100.0, pixels_hash="0" * 64)
    corrupted = Corrupted(test.image_ids, np.array(names), decisions)
    return record.model_copy(update={"corruption": facts}), predictions, corrupted


def store(out: Path, *runs: Run) -> None:
    for record, predictions, corrupted in runs:
        RecordStore(out).write(record, predictions, corrupted=corrupted)


def lines(out: Path) -> list[dict[str, str]]:
    with (out / "corruptions.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_rows_stand_beside_the_baseline_in_table_file_and_figure(tmp_path: Path, undrawn: None) -> None:
    weak, strong = FOUR[0], FOUR[3]
    store(tmp_path, spoilt(STUDY, weak, loses=0.15), spoilt(STUDY, strong, loses=0.05))
    RecordStore(tmp_path).write(*STUDY.run(FOUR[2]))  # this one was not asked
    write_leaderboard(tmp_path)
    found = lines(tmp_path)
    assert len(found) == 2 * (7 * 6 + 1)
    assert {line["reference"] for line in found} == {"", "torch/baseline_cnn"}
    (whole,) = (each for each in found if each["corruption"] == "all" and each["backbone"] == strong.name)
    assert float(whole["corruption_error_low"]) < float(whole["corruption_error"]) < 1
    assert float(whole["relative_corruption_error"]) < 1
    assert float(whole["error_low"]) < float(whole["error"]) < float(whole["error_high"])
    (own,) = (each for each in found if each["corruption"] == "all" and each["backbone"] == weak.name)
    assert float(own["corruption_error"]) == 1
    assert own["n_images"] == str(25 * STUDY.data.n_test)
    with (tmp_path / "columns.csv").open(encoding="utf-8") as stream:
        told = {line["column"] for line in csv.DictReader(stream) if line["file"] == "corruptions.csv"}
    assert told == set(found[0])
    cells = [line for line in found if line["corruption"] == "blur" and line["backbone"] == weak.name]
    errors = [float(line["error"]) for line in cells[:5]]
    assert errors == sorted(errors)
    np.testing.assert_allclose(np.mean(errors), float(cells[5]["error"]))
    text = (tmp_path / "leaderboard.md").read_text()
    assert "What spoilt images cost" in text
    assert "reference row, torch/baseline\\_cnn" in text or "reference row, torch/baseline_cnn" in text
    assert f"Not asked about these images: {FOUR[2].name}" in text.replace("\\", "")
    assert "![What spoilt images cost: macro-F1 by corruption](plot_corruptions.png)" in text
    assert "What spoilt images cost" in (tmp_path / "leaderboard.html").read_text()
    for kind in ("png", "svg"):
        assert (tmp_path / f"plot_corruptions.{kind}").exists()
    told = (tmp_path / "report.md").read_text()
    assert "No corruption of the images" not in told
    assert "spoilt" in told


def test_nothing_is_said_where_no_row_was_asked_and_old_files_go(tmp_path: Path, undrawn: None) -> None:
    store(tmp_path, spoilt(STUDY, FOUR[0], ("blur",)))
    write_leaderboard(tmp_path)
    assert "Each image was shown 25" not in (tmp_path / "leaderboard.md").read_text()
    RecordStore(tmp_path).write(*STUDY.run(FOUR[0]))
    write_leaderboard(tmp_path)
    assert "spoilt" not in (tmp_path / "leaderboard.md").read_text()
    assert not list(tmp_path.glob("*corruptions*"))
    assert "No corruption of the images" in (tmp_path / "report.md").read_text()


def test_folds_and_seeds_are_joined(tmp_path: Path) -> None:
    for seed in (0, 1):
        store(tmp_path, *(spoilt(study, FOUR[0], ("blur", "noise"), seed=seed) for study in STUDY.in_folds(3)))
    (rows,) = read_board(tmp_path).comparison_groups()
    found = robustness_of(rows)
    assert found is not None
    assert found.corruptions == ("blur", "noise")
    assert (found.scores[0].images == 3 * STUDY.data.n_test).all()
    assert found.whole


def test_rows_with_other_corruptions_are_named(tmp_path: Path) -> None:
    store(tmp_path, spoilt(STUDY, FOUR[0], ("blur",)), spoilt(STUDY, FOUR[1], ("blur",)),
          spoilt(STUDY, FOUR[3], ("noise", "blur")))  # fmt: skip
    (rows,) = read_board(tmp_path).comparison_groups()
    found = robustness_of(rows)
    assert found is not None
    assert found.corruptions == ("blur",)
    assert found.others == (FOUR[3].name,)


def test_rows_that_saw_other_pixels_are_said_to_have(tmp_path: Path, undrawn: None) -> None:
    record, predictions, corrupted = spoilt(STUDY, FOUR[1], ("blur",))
    facts = record.corruption
    assert facts is not None
    other = record.model_copy(update={"corruption": facts.model_copy(update={"pixels_hash": "1" * 64})})
    for run, said in ((record, "Every row saw the same pixels"), (other, "Rows did not see the same pixels")):
        store(tmp_path, spoilt(STUDY, FOUR[0], ("blur",)), (run, predictions, corrupted))
        write_leaderboard(tmp_path)
        assert said in (tmp_path / "leaderboard.md").read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"names": np.array(["snow"])},
        {"names": np.array(["blur", "blur"])},
        {"decisions": np.zeros((1, 5, 3), np.int16)},
        {"decisions": np.full((1, 5, 160), 9, np.int16)},
        {"decisions": np.full((1, 5, 160), -2, np.int16)},
        {"image_ids": np.repeat("a", 160)},
    ],
)
def test_decisions_that_can_not_be_are_named_and_left_out(tmp_path: Path, changes: dict[str, np.ndarray]) -> None:
    record, predictions, corrupted = spoilt(STUDY, FOUR[0], ("blur",))
    store(tmp_path, (record, predictions, replace(corrupted, **changes)))
    board = read_board(tmp_path)
    assert any("The decisions of spoilt images of record" in text for text in board.problems)
    assert robustness_of(board.comparison_groups()[0]) is None


def test_decisions_of_other_images_are_not_used(tmp_path: Path) -> None:
    record, predictions, corrupted = spoilt(STUDY, FOUR[0], ("blur",))
    other = replace(corrupted, image_ids=np.char.add(corrupted.image_ids, "x"))
    store(tmp_path, (record, predictions, other))
    assert robustness_of(read_board(tmp_path).comparison_groups()[0]) is None


def test_classes_in_another_order_are_matched_by_name(tmp_path: Path) -> None:
    turned = replace(STUDY, classes=STUDY.classes[::-1])
    first, (record, predictions, corrupted) = spoilt(STUDY, FOUR[0], ("blur",)), spoilt(turned, FOUR[3], ("blur",))
    data = record.data.model_copy(update={"fingerprint": first[0].data.fingerprint})
    identity = {**record.identity, "data_fingerprint": data.fingerprint}
    from benchmark.hashing import hash_json

    changed = record.model_copy(update={"data": data, "identity": identity, "key": hash_json(identity)})
    store(tmp_path, first, (changed, predictions, corrupted))
    board = read_board(tmp_path)
    for result in board.results:
        assert result.corrupted is not None
        test = result.predictions.part("test") if result.predictions else None
        assert test is not None
        kept = (result.corrupted.decisions[0, 0] == test.probabilities.argmax(axis=1)).mean()
        assert 0.8 < kept < 1
