"""One architecture in two frameworks, as the first board trains it: from the same numbers, to nearly the same end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.evaluation.metrics import confusion_matrix, decide, macro_f1
from benchmark.records.record import Record
from benchmark.records.store import RecordStore

PATIENCE = 900.0


def trained(out: Path, *words: str) -> tuple[tuple[Record, float], tuple[Record, float]]:
    """Train two backbones by ``quick`` on the phantom; return their records and macro-F1, in order of their names."""
    command = [sys.executable, "-m", "benchmark", *words, "--recipe", "quick", "--out", str(out), "--cam", "none"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, env=dict(os.environ), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    store, rows = RecordStore(out), []
    for record, _ in sorted(store.read_all(), key=lambda pair: pair[0].backbone.name):
        predictions = store.predictions(record)
        assert predictions is not None
        test = predictions.part("test")
        confusion = confusion_matrix(test.labels, decide(test.probabilities), len(record.data.class_names))
        rows.append((record, float(macro_f1(confusion))))
    one, other = rows
    return one, other


@pytest.mark.slow
def test_the_two_baselines_begin_with_one_loss_and_end_with_nearly_one_score(tmp_path: Path) -> None:
    (one, score), (other, other_score) = trained(
        tmp_path / "out", "--backbone", "torch/baseline_cnn", "keras/baseline_cnn", "--device", "cpu"
    )
    assert one.history[0].train_loss == pytest.approx(other.history[0].train_loss, abs=1e-3)
    assert score == pytest.approx(other_score, abs=0.03)
    assert min(score, other_score) > 0.5  # both have learned


@pytest.mark.slow
def test_a_resnet50_begins_with_one_loss_in_both_frameworks(tmp_path: Path) -> None:
    """At a rate so small that it shows the initial weights.

    AdamW's first steps are as long for a tiny gradient as for a large one, so that at a usual rate the rounding of
    fifty normalised layers is 0.06 of the loss after six steps.
    """
    (one, _), (other, _) = trained(
        tmp_path / "out", "--backbone", "timm/resnet50", "reference:keras_resnet50_v1_5", "--device", "cpu",
        "--weights", "none", "--epochs", "1", "--limit", "96", "--size", "64",
        "--set", "execution.precision=float32", "--learning-rate", "1e-7",
    )  # fmt: skip
    assert one.history[0].train_loss == pytest.approx(other.history[0].train_loss, abs=1e-3)
