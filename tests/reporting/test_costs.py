"""``leaderboard --costs``: expected cost per image, as a column with its interval."""

import csv
from pathlib import Path

import numpy as np
import pytest
from simulated import FOUR, Study

from benchmark.cli.main import main
from benchmark.records.store import RecordStore

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = Study(patients=24, slices=2)
COSTS = """
wrong = 1.0
[costs.glioma]
notumor = 20
[costs.notumor]
glioma = 3.5
"""


def expected(labels: np.ndarray, said: np.ndarray) -> float:
    """Return the mean cost of decisions, image by image."""
    classes = SMALL.classes
    cost = {("glioma", "notumor"): 20.0, ("notumor", "glioma"): 3.5}
    pairs = [(classes[true], classes[called]) for true, called in zip(labels, said, strict=True)]
    return float(np.mean([0.0 if a == b else cost.get((a, b), 1.0) for a, b in pairs]))


def test_each_row_has_its_expected_cost(tmp_path: Path) -> None:
    (tmp_path / "costs.toml").write_text(COSTS)
    wanted = {}
    for reader in FOUR:
        record, predictions = SMALL.run(reader)
        RecordStore(tmp_path).write(record, predictions)
        test = predictions.part("test")
        wanted[reader.name] = expected(test.labels, test.probabilities.argmax(axis=1))
    options = ["--costs", str(tmp_path / "costs.toml"), "--sort", "cost"]
    assert main(["leaderboard", str(tmp_path), *options]) == 0
    with (tmp_path / "view" / "leaderboard.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        assert float(row["cost"]) == pytest.approx(wanted[row["backbone"]])
        assert float(row["cost_low"]) < float(row["cost"]) < float(row["cost_high"])
    assert [float(row["cost"]) for row in rows] == sorted(wanted.values())
    text = (tmp_path / "view" / "leaderboard.md").read_text()
    assert "Expected cost per image: glioma called notumor 20; notumor called glioma 3.5; any other error 1." in text
    assert f"{min(wanted.values()):.3f} (" in text
    assert main(["leaderboard", str(tmp_path)]) == 0
    assert "xpected cost" not in (tmp_path / "leaderboard.md").read_text()


def test_costs_of_folds_are_of_all_their_images(tmp_path: Path) -> None:
    (tmp_path / "costs.toml").write_text(COSTS)
    labels, said = [], []
    for fold in SMALL.in_folds(3):
        record, predictions = fold.run(FOUR[0])
        RecordStore(tmp_path).write(record, predictions)
        test = predictions.part("test")
        labels.append(test.labels)
        said.append(test.probabilities.argmax(axis=1))
    assert main(["leaderboard", str(tmp_path), "--costs", str(tmp_path / "costs.toml")]) == 0
    with (tmp_path / "leaderboard.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["cost"]) == pytest.approx(expected(np.concatenate(labels), np.concatenate(said)))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[costs.glioma]\nnotumor = 2", "say what any other error costs, such as wrong = 1.0."),
        ("wrong = -1", "wrong is -1; a cost is a number from 0 up."),
        (
            "wrong = 1\n[costs.glioma]\nnotumor = 'much'",
            "costs.glioma.notumor is 'much'; a cost is a number from 0 up.",
        ),
        ("wrong = 1\n[costs.gliom]\nnotumor = 2", "no data set here has a class 'gliom'. Did you mean 'glioma'?"),
        ("wrong = 1\ncosts = 3", "give costs as tables"),
        ("wrong = 1\nright = 0", "'right' is not known"),
        ("wrong = ", "--costs"),
    ],
)
def test_costs_that_make_no_sense_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    RecordStore(tmp_path).write(*SMALL.run(FOUR[0]))
    (tmp_path / "costs.toml").write_text(text)
    assert main(["leaderboard", str(tmp_path), "--costs", str(tmp_path / "costs.toml")]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "leaderboard.md").exists()
