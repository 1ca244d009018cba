"""Tuned rows on the board: what they reach by trials, and rates at an end of the grid."""

import csv
from pathlib import Path

from simulated import FOUR, Study

from benchmark.evaluation.budget import expected_best
from benchmark.records.record import Predictions, Record, Trial
from benchmark.records.store import RecordStore
from benchmark.reporting.leaderboard import write_leaderboard

STUDY = Study(patients=24, slices=2)
RATES = (3e-5, 1e-4, 3e-4, 1e-3)


def tuned(number: int, scores: tuple[float | None, ...], chosen: int, seed: int = 0) -> tuple[Record, Predictions]:
    """Return a run that tried rates with these macro-F1s on validation images; ``None`` diverged."""
    record, predictions = STUDY.run(FOUR[number], seed)
    assert predictions is not None
    trials = tuple(
        Trial(learning_rate=rate, val_loss=None if score is None else 1 - score, val_macro_f1=score, best_epoch=1,
              epochs=2, seconds=4.0, chosen=place == chosen, reason="" if score else "diverged")
        for place, (rate, score) in enumerate(zip(RATES, scores, strict=True))
    )  # fmt: skip
    return record.model_copy(update={"trials": trials}), predictions


def test_tuned_rows_stand_in_table_file_and_figure_and_ends_are_told(tmp_path: Path, undrawn: None) -> None:
    inside, at_end = (0.4, 0.8, 0.7, None), (0.1, 0.2, 0.5, 0.6)
    for run in (tuned(0, inside, 1), tuned(1, at_end, 3, 0), tuned(1, at_end, 3, 1), STUDY.run(FOUR[3])):
        RecordStore(tmp_path).write(*run)
    write_leaderboard(tmp_path)
    with (tmp_path / "budget.csv").open(encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 2 * 4  # the row that was not tuned has none
    found = [float(line["expected_best_val_macro_f1"]) for line in lines if line["backbone"] == FOUR[0].name]
    assert found == expected_best([0.4, 0.8, 0.7, 0.0]).tolist()
    assert [float(line["seconds"]) for line in lines[:4]] == [4, 8, 12, 16]
    text = (tmp_path / "leaderboard.md").read_text().replace("\\", "")
    assert (
        f"chosen at an end of those tried, beyond which a better one may lie: {FOUR[1].name} (0.001, the highest)"
        in text
    )
    assert "0.0001 (0.800, chosen)" in text
    assert "0.001 (0.600, chosen 2 of 2 times)" in text
    assert "What tuning was worth" in (tmp_path / "leaderboard.html").read_text()
    assert (tmp_path / "plot_budget.png").exists()


def test_a_board_without_tuned_rows_has_no_such_files(tmp_path: Path, undrawn: None) -> None:
    (tmp_path / "budget.csv").write_text("of an earlier board")
    RecordStore(tmp_path).write(*STUDY.run(FOUR[0]))
    write_leaderboard(tmp_path)
    assert not list(tmp_path.glob("*budget*"))
