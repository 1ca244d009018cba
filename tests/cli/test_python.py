"""What a script or a notebook imports: the package's own functions."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import benchmark
from benchmark.cli.main import main
from benchmark.errors import UserError


def _folder(folder: Path) -> Path:
    """Write images of two classes in the layout of Kaggle; one training image is a copy of a test image."""
    generator = np.random.default_rng(0)
    for part, count in (("Training", 12), ("Testing", 6)):
        for name in ("glioma", "notumor"):
            place = folder / part / name
            place.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(generator.integers(0, 255, (32, 32), dtype=np.uint8)).save(place / f"{number}.png")
    (folder / "Training" / "glioma" / "0.png").write_bytes((folder / "Testing" / "glioma" / "0.png").read_bytes())
    return folder


def test_the_backbones_and_those_of_a_file(tmp_path: Path) -> None:
    names = [backbone.name for backbone in benchmark.list_backbones()]
    assert names == sorted(names)
    assert {"torch/baseline_cnn", "keras/resnet50", "timm/vgg16"} <= set(names)
    file = tmp_path / "mine.py"
    file.write_text(
        "from backbones import backbone\n\n\n"
        "@backbone('own/mine', framework='torch', input_size=48)\ndef mine(num_classes):\n    return None\n"
    )
    (mine,) = (each for each in benchmark.list_backbones([file]) if each.name == "own/mine")
    assert mine.input_size == 48
    file.write_text("import a_module_that_no_one_has\n")
    with pytest.raises(UserError, match="a_module_that_no_one_has"):
        benchmark.list_backbones([file])
    with pytest.raises(UserError, match="no plug-in file"):
        benchmark.list_backbones([tmp_path / "absent.py"])


def test_the_audit_of_a_folder(tmp_path: Path) -> None:
    source = _folder(tmp_path / "images")
    found = benchmark.audit(source, size=32)
    assert found.split == "official"
    assert found.byte_identical.across == 1
    assert found.leaks
    assert benchmark.audit(source, size=32, dedupe=True).removed == 1
    with pytest.raises(UserError, match="does not exist"):
        benchmark.audit(tmp_path / "absent")


def test_runs_from_python_are_those_of_the_command(tmp_path: Path) -> None:
    source, out = _folder(tmp_path / "images"), tmp_path / "out"
    tiny = {"epochs": 1, "size": 16, "batch_size": 8}
    results = benchmark.run(["torch/baseline_cnn"], data=source, recipe="quick", changes=tiny, out=out, device="cpu")
    board = results.leaderboard()
    assert board["backbone"].tolist()[0] == "torch/baseline_cnn"
    assert board["backbone"][1:].str.startswith("no network: ").all()
    assert results.runs[["seed", "status"]].values.tolist() == [[0, "ok"], [1, "ok"], [2, "ok"]]
    assert (out / "leaderboard.html").is_file()
    words = ["--backbone", "torch/baseline_cnn", "--data", str(source), "--recipe", "quick", "--out", str(out)]
    words += ["--device", "cpu", *(part for name, value in tiny.items() for part in ("--set", f"{name}={value}"))]
    assert main([*words]) == 0  # the command finds it done: one run, one key
    assert benchmark.load_results(out).runs["key"].tolist() == results.runs["key"].tolist()
    assert results.cross_matrix().empty
    with pytest.raises(UserError, match="give --cross"):
        benchmark.run(["torch/baseline_cnn"], data=[source, "phantom"], out=out)
    with pytest.raises(UserError, match="seeds = '3': give whole numbers"):
        benchmark.run(["torch/baseline_cnn"], data=source, seeds="3", out=out)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="Unknown backbone 'torch/base'"):
        benchmark.run(["torch/base"], data=source, out=out)
