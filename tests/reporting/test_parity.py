"""Certificates of parity on the board: on both rows, while they are of the declarations that ran."""

import json
from pathlib import Path

import pandas as pd
import pytest
from simulated import FOUR, Study

from benchmark.evaluation.parity_certificates import FOLDER, Certificate, store
from benchmark.hashing import hash_json
from benchmark.reporting.leaderboard import write_leaderboard

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = Study(patients=24, slices=2)
TORCH, KERAS = "torch/baseline_cnn", "keras/baseline_cnn"
FOUND = Certificate(
    torch=TORCH,
    keras=KERAS,
    torch_source=hash_json(TORCH),  # as simulated runs have it
    keras_source=hash_json(KERAS),
    size=64,
    head="native",
    parameters=287_012,
    logits=3.9e-07,
    gradients=9.1e-07,
    rate=0.004,
    fall=0.23,
    sgd_curve=1.2e-07,
    adam_curve=4.6e-06,
    versions={"torch": "2.9.0", "keras": "3.12.0"},
)


def parity_of(out: Path) -> dict[str, str]:
    """Write the leaderboard; return the column ``parity`` by backbone."""
    write_leaderboard(out)
    board = pd.read_csv(out / "leaderboard.csv", keep_default_na=False)
    return dict(zip(board["backbone"], board["parity"], strict=True))


@pytest.mark.parametrize("place", [".", ".."], ids=["beside the records", "in the folder above"])
def test_its_figures_stand_on_both_rows(results, place: str) -> None:
    out = results(SMALL.run(reader) for reader in FOUR)
    if place == "..":
        inner = out / "phantom"
        inner.mkdir()
        (out / "records").rename(inner / "records")
        store(FOUND, out / FOLDER)
        out = inner
    else:
        store(FOUND, out / FOLDER)
    said = parity_of(out)
    figures = "logits differ by up to 3.9e-07, gradients by 9.1e-07 of the largest, losses over 20 steps by 1.2e-07"
    assert {name for name, text in said.items() if text} == {TORCH, KERAS}
    page, text = (out / "leaderboard.html").read_text(), (out / "leaderboard.md").read_text()
    for name, other in ((TORCH, KERAS), (KERAS, TORCH)):
        assert said[name].startswith(f"{name} is the same network as {other} (64 px, float32 on a CPU): {figures}")
        assert said[name] in text
        assert page.count(said[name]) == 3  # in a cell, in what the cell is sorted by, in the details of the row


def test_a_certificate_of_another_declaration_is_stale(results) -> None:
    out = results(SMALL.run(reader) for reader in FOUR)
    store(FOUND.model_copy(update={"keras_source": hash_json("an older file")}), out / FOLDER)
    assert set(parity_of(out).values()) == {""}
    assert "two frameworks" not in (out / "leaderboard.md").read_text()


def test_one_that_does_not_hold_says_so(results) -> None:
    out = results(SMALL.run(reader) for reader in FOUR)
    store(FOUND.model_copy(update={"logits": 0.3}), out / FOLDER)
    assert f"{KERAS} is NOT the same network as {TORCH}" in parity_of(out)[KERAS]


@pytest.mark.parametrize(
    "content",
    ["{", "[" * 100_000, json.dumps({**FOUND.model_dump(), "logits": "much"}), json.dumps(FOUND.model_dump())[:-1]],
    ids=["cut", "deep", "wrong", "open"],
)
def test_a_file_that_is_no_certificate_is_named_and_left_out(results, content: str) -> None:
    out = results(SMALL.run(reader) for reader in FOUR)
    (out / FOLDER).mkdir()
    (out / FOLDER / "broken.json").write_text(content)
    assert set(parity_of(out).values()) == {""}
    assert "The certificate broken.json is not used" in (out / "leaderboard.md").read_text()
