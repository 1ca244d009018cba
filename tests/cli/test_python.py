"""What a script or a notebook imports: the package's own functions."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import benchmark
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
