"""``model.json``: read within bounds, and refused in a sentence where it can't be used."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import UserError
from benchmark.models.card import card
from benchmark.models.description import Model
from tests.models.described import a_model


def changed(folder: Path, **values: Any) -> None:
    """Change fields of a written description."""
    file = folder / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    model = a_model(tmp_path)
    assert Model.read(tmp_path).model_dump_json() == model.model_dump_json()
    model.check_files(tmp_path)


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    model = a_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"others")
    with pytest.raises(UserError, match=r"model\.safetensors' is not as it was written \(its SHA-256 is another\)"):
        model.check_files(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"is missing: the model is not whole"):
        model.check_files(tmp_path)


def test_a_newer_format_is_refused_before_it_is_understood(tmp_path: Path) -> None:
    a_model(tmp_path)
    changed(tmp_path, format=99, version="9.9", something_new=1)
    with pytest.raises(UserError, match=r"was made by a newer TumorBoard \(9\.9, format 99; this one reads 1\)"):
        Model.read(tmp_path)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"files": {"../model.safetensors": "0" * 64}}, "its files are not named"),
        ({"files": {"other.safetensors": "0" * 64}}, "it names files without a SHA-256"),
        ({"extra": 1}, "extra: Extra inputs"),
        (
            {
                "reader": {
                    "files": ["model.safetensors"],
                    "reader": "timm",
                    "arguments": {"checkpoint_path": "/x.pth"},
                }
            },
            "it names no network of timm",
        ),
        (
            {"reader": {"files": ["model.safetensors"], "reader": "timm", "arguments": {"model_name": "hf-hub:a/b"}}},
            "it names no network of timm",
        ),
        (
            {"input": {"size": 10**6, "resize": "squash", "preprocessing": {}}},
            "its size or temperature is out of range",
        ),
        ({"identity": {}}, "recipe"),
    ],
)
def test_what_would_lead_astray_is_refused(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    a_model(tmp_path)
    changed(tmp_path, **values)
    with pytest.raises(UserError, match="does not describe a model") as refusal:
        Model.read(tmp_path)
    assert said in str(refusal.value)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no kept model: there is no model\.json in it"):
        Model.read(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(UserError, match="does not describe a model"):
        Model.read(tmp_path)
    (tmp_path / "model.json").unlink()
    (tmp_path / "elsewhere").write_text("{}")
    (tmp_path / "model.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is not read, because it is a link"):
        Model.read(tmp_path)


def test_the_card_says_what_it_must(tmp_path: Path) -> None:
    text = card(a_model(tmp_path))
    header, _, body = text.removeprefix("---\n").partition("\n---\n")
    fields = {line.partition(": ")[0]: json.loads(line.partition(": ")[2]) for line in header.splitlines()}
    assert fields["pipeline_tag"] == "image-classification"
    assert fields["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.9
    assert "not for clinical use" in body
    assert "glioma, notumor" in body
    assert "load_state_dict(load_file('model.safetensors'), strict=True)" in body


def test_no_name_breaks_out_of_the_card_s_header() -> None:
    model = a_model()
    data = model.data.model_copy(update={"name": "x\n---\ninjected: yes"})
    header = card(model.model_copy(update={"data": data})).removeprefix("---\n").partition("\n---\n")[0]
    assert "\ninjected" not in header
