"""``--json``: standard output is one JSON object and nothing else."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.cli.json_output import print_json
from benchmark.cli.main import main
from benchmark.data.sources.phantom import PhantomSource
from benchmark.data.sources.remote import KNOWN_SETS


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of two classes in Kaggle's layout; one training image is a copy of a test image."""
    generator = np.random.default_rng(0)
    for part, count in (("Training", 12), ("Testing", 6)):
        for name in ("glioma", "notumor"):
            place = tmp_path / "images" / part / name
            place.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(generator.integers(0, 255, (32, 32), dtype=np.uint8)).save(place / f"{number}.png")
    copy = tmp_path / "images" / "Training" / "glioma" / "0.png"
    copy.write_bytes((tmp_path / "images" / "Testing" / "glioma" / "0.png").read_bytes())
    return tmp_path / "images"


def answer(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_data_set_and_its_audit(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "data", str(images), "--size", "32")
    assert (found["images"], found["classes"], found["patients"]) == (36, ["glioma", "notumor"], None)
    (split,) = found["splits"]
    assert split["images"]["test"] == {"glioma": 6, "notumor": 6}
    assert sum(sum(part.values()) for part in split["images"].values()) == 36
    assert split["leaks"]
    assert "audits" not in found
    audited = answer(capsys, "data", str(images), "--size", "32", "--audit", "--out", str(tmp_path / "audit"))
    assert audited["splits"] == found["splits"]
    assert audited["audits"] == [json.loads((tmp_path / "audit" / "audit.json").read_text())]
    assert audited["written_to"] == str(tmp_path / "audit")


def test_known_data_sets(capsys: pytest.CaptureFixture[str]) -> None:
    found = {each["name"]: each for each in answer(capsys, "data", "--list")["data_sets"]}
    assert set(found) == {"phantom", *KNOWN_SETS}
    assert found["cheng"]["images"] == 3064
    assert found["cheng"]["citation"]


def test_the_list_of_data_sets_says_of_the_phantom_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    known = answer(capsys, "data", "--list")["data_sets"][0]
    phantom = PhantomSource()
    assert (known["images"], known["classes"]) == (len(phantom.items), list(phantom.facts.class_names))
    assert known["patients"] == str(len({item.group for item in phantom.items}))


@pytest.mark.slow
def test_checks_of_a_backbone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from backbones import backbone\n\n\n"
        "@backbone('own/mine', framework='torch', input_size=32)\ndef mine(num_classes):\n    return None\n"
    )
    found = answer(capsys, "check", str(plugin), "--only", "builds", code=1)
    assert found["sound"] is False
    (check,) = found["checks"]
    assert (check["backbone"], check["check"], check["status"]) == ("own/mine", "builds", "error")
    assert check["detail"]


def test_what_json_has_no_word_for(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": np.float32(0.5), "b": np.array([1, 2]), "c": float("nan"), "d": Path("x"), "e": {"f": (True,)}})
    assert json.loads(capsys.readouterr().out) == {
        "a": 0.5, "b": [1, 2], "c": None, "d": "x", "e": {"f": [True]},
    }  # fmt: skip
