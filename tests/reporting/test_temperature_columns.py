"""Temperature scaling on the board: the calibration error before and after, of runs, of folds and of ensembles."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.cli.main import main
from benchmark.evaluation.calibration import reliability
from benchmark.evaluation.temperature import fit_temperature, scaled
from benchmark.records.record import Predictions
from benchmark.records.store import RecordStore
from benchmark.reporting.ensembles import Ensembles
from benchmark.reporting.leaderboard import read_board
from tests.models.described import a_model
from tests.reporting.simulated import FOUR, Study


def too_sure(predictions: Predictions) -> Predictions:
    """Return predictions of a network that is three times as sure of itself."""
    return replace(predictions, probabilities=scaled(predictions.probabilities, 1 / 3).astype(np.float32))


def stored(out: Path, *studies: Study) -> Path:
    for study in studies:
        for reader in FOUR[:2]:
            record, predictions = study.run(reader)
            RecordStore(out).write(record, too_sure(predictions))
    return out


def test_a_network_that_is_too_sure_is_cooled(tmp_path: Path) -> None:
    row, _ = read_board(stored(tmp_path, Study(patients=40, slices=3))).rows
    predictions = row.results[0].predictions
    assert predictions is not None
    validation, test = predictions.part("validation"), predictions.part("test")
    temperature = fit_temperature(validation.labels, validation.probabilities)
    assert row.values["temperature"] == pytest.approx(temperature)
    assert temperature > 1.5
    assert row.values["ece_temperature"] == pytest.approx(
        reliability(test.labels, scaled(test.probabilities, temperature)).error
    )
    assert row.values["ece_temperature"] < row.values["ece"] - 0.02


def test_of_folds_it_is_the_mean_over_folds(tmp_path: Path) -> None:
    row, _ = read_board(stored(tmp_path, *Study(patients=20, slices=2).in_folds(2))).rows
    own = [result.values["temperature"] for result in row.results]
    assert len(own) == 2
    assert row.values["temperature"] == pytest.approx(np.mean(own))
    errors = [result.values["ece_temperature"] for result in row.results]
    assert row.values["ece_temperature"] == pytest.approx(np.mean(errors))


def test_an_ensemble_has_a_temperature_of_its_own(tmp_path: Path) -> None:
    board = read_board(stored(tmp_path, Study(patients=40, slices=3)), ensembles=Ensembles(("top2",)))
    (row,) = [row for row in board.rows if "+" in row.values["backbone"]]
    predictions = row.results[0].predictions
    assert predictions is not None
    validation = predictions.part("validation")
    assert row.values["temperature"] == pytest.approx(fit_temperature(validation.labels, validation.probabilities))
    assert row.values["ece_temperature"] < row.values["ece"]


def test_the_latency_of_an_onnx_file_stands_on_the_board_when_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    from benchmark.models.description import Export

    out = stored(tmp_path / "out", Study(patients=8, slices=2))
    assert main(["leaderboard", str(out), "--onnx-latency"]) == 2
    assert "export MODEL --to onnx makes" in capsys.readouterr().err
    record = next(iter(RecordStore(out).read_all()))[0]
    folder = out / "models" / "kept"
    folder.mkdir(parents=True)
    files = [
        Export(file=name, target="onnx", whole=whole, runtime="onnxruntime 1", images=9, largest_difference=0.0,
               changed_decisions=0, sha256="0" * 64, latency_p50_ms=latency)
        for name, whole, latency in (("model-whole.onnx", True, 9.0), ("model.onnx", False, 4.25))
    ]  # fmt: skip
    a_model(key=record.key, identity=record.identity, exports=tuple(files)).write(folder)
    assert main(["leaderboard", str(out), "--onnx-latency"]) == 0
    assert "ONNX latency p50 ms" in (out / "leaderboard.md").read_text()
    assert "4.25" in (out / "leaderboard.csv").read_text()
    assert main(["leaderboard", str(out)]) == 0
    assert "ONNX latency p50 ms" not in (out / "leaderboard.md").read_text()
