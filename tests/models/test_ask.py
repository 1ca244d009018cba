"""A model from the run that made it to its answers: kept, read outside of this program, asked, exported, refused."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.models.description import Model
from benchmark.models.keep import kept_models
from benchmark.models.load import find_model
from benchmark.records.store import RecordStore
from tests.execution.commands import GOOD, PATIENCE, Bench, make_images

PLUGIN = (
    GOOD
    + """
@backbone("test/keras", framework="keras", input_size=16)
def of_keras(num_classes, input_size):
    import keras
    layers = keras.layers
    x = [keras.Input((input_size, input_size, 3)), layers.Conv2D(8, 3, strides=2), layers.BatchNormalization()]
    return keras.Sequential([*x, layers.ReLU(), layers.Flatten(), layers.Dense(num_classes)])


def build(num_classes):
    from torch import nn
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU()),
                         nn.Sequential(nn.Flatten(), nn.Linear(8 * 49, num_classes)))


@backbone("test/torch", framework="torch", input_size=16)
def of_torch(num_classes):
    return build(num_classes)
"""
)
# each needs a trained model, one for most of them, and asks it in processes of their own
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ask")]
OUTSIDE = Path(__file__).with_name("outside")


def command(bench: Bench, *words: str) -> subprocess.CompletedProcess[str]:
    """Do a command of the program beside a bench's folder of images."""
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *words],
        capture_output=True, text=True, timeout=PATIENCE, env=bench.environment(), check=False,
        cwd=bench.images.parent,
    )  # fmt: skip


def trained(folder: Path, *words: str) -> Bench:
    bench = Bench.of(folder, PLUGIN, make_images(folder / "images"))
    done = bench.run("--epochs", "4", "--cam", "none", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A results folder with a torch model of one's own that reads its images well."""
    return trained(tmp_path_factory.mktemp("torch"), "--backbone", "test/torch", "--set", "head.kind=native")


def predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_best_row_s_model_is_kept_whole(bench: Bench) -> None:
    (folder,) = kept_models(bench.out)
    model = Model.read(folder)
    model.check_files(folder)
    assert folder.name == f"test-torch-{model.key[:8]}"
    assert model.keeps == "best"
    assert model.board is not None
    assert model.board.rank == 1
    assert model.board.scores["macro_f1"].low is not None
    assert model.calibration.distance is not None
    assert model.training_images.grey == 1.0
    assert model.training_images.suffixes == (".jpg",)
    assert find_model(bench.out) == folder
    ((record, _),) = RecordStore(bench.out).read_all()
    assert record.provenance["model"] == f"models/{folder.name}"
    assert not (bench.out / "work" / model.key[:20]).exists(), "checkpoints go as before"


def test_it_is_scored_on_the_test_images_as_the_board_scored_it(bench: Bench, tmp_path: Path) -> None:
    """Training images are recognised by their pixels and left out; what is left is the test part."""
    done = command(
        bench, "predict", str(bench.out), str(bench.images), "--plugin", str(bench.plugin), "--out", str(tmp_path),
        "--explain", "--images", "5",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = predictions(tmp_path)
    assert len(rows) == 72
    assert {row["image"].split("/")[0] for row in rows if row["trained_on"] == "True"} == {"Training"}
    model = Model.read(find_model(bench.out))
    assert model.board is not None
    assert f"On 24 labelled images: macro-F1 {model.board.scores['macro_f1'].value:.3f}" in done.stdout
    assert "Left out of the scores: 48 images" in done.stdout
    page = (tmp_path / "predictions.html").read_text()
    assert page.count("<figure") == 5
    assert page.count("data:image/png;base64,") == 10, "an image and its heat map"
    assert "not for clinical use" in page
    ((record, before),) = RecordStore(bench.out).read_all()
    assert before is not None
    test = before.part("test")
    from benchmark.evaluation.temperature import scaled

    expected = dict(
        zip(test.image_ids.tolist(), scaled(test.probabilities, model.calibration.temperature), strict=True)
    )
    given = {row["image"]: [float(row["p_glioma"]), float(row["p_notumor"])] for row in rows}
    for name, probabilities in expected.items():
        np.testing.assert_allclose(given[name], probabilities, atol=1e-4)
    assert record.data.class_names == model.class_names


def test_images_unlike_those_of_training_get_no_decision(bench: Bench, tmp_path: Path) -> None:
    """A folder of any names, with a picture of another kind, one in colour and large, and one that can't be read."""
    home = tmp_path / "asked" / "somewhere"
    home.mkdir(parents=True)
    (home / "usual.jpg").write_bytes((bench.images / "Testing" / "glioma" / "3.jpg").read_bytes())
    stripes = np.zeros((90, 90, 3), dtype=np.uint8)
    stripes[::6] = (255, 0, 120)
    Image.fromarray(stripes).save(home / "stripes.png")
    (home / "broken.png").write_bytes(b"nothing")
    done = command(
        bench, "predict", str(bench.out), str(home.parent), "--plugin", str(bench.plugin), "--out", str(tmp_path)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["image"].rpartition("/")[2]: row for row in predictions(tmp_path)}
    assert rows["usual.jpg"]["decision"] == "glioma"
    assert rows["usual.jpg"]["tumour"] == "yes"
    assert rows["usual.jpg"]["warning"] == ""
    odd = rows["stripes.png"]
    assert (odd["decision"], odd["abstained"]) == ("", "True")
    for said in ("unlike the training images", "in colour", "much larger", "a .png file"):
        assert said in odd["warning"]
    assert rows["broken.png"]["decision"] == ""
    assert "can't be read" in rows["broken.png"]["warning"]
    assert "No decision, as unlike the training images (see 'warning'): 1." in done.stdout
    assert "label" not in rows["usual.jpg"]


def test_in_python_it_answers_in_the_same_process(bench: Bench) -> None:
    import benchmark

    model = benchmark.load_model(bench.out, plugins=[bench.plugin])
    pictures = [Image.open(bench.images / "Testing" / name / "0.jpg") for name in ("glioma", "notumor")]
    frame = model.predict(pictures)
    assert frame["decision"].tolist() == ["glioma", "notumor"]
    array = np.stack([np.asarray(picture) for picture in pictures])
    np.testing.assert_allclose(model.predict(array)["p_glioma"], frame["p_glioma"])
    assert len(model.predict(bench.images / "Testing" / "glioma" / "0.jpg")) == 1


def refused(bench: Bench, *words: str) -> str:
    done = command(bench, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_what_can_not_be_used_is_refused_in_a_sentence(bench: Bench, tmp_path: Path) -> None:
    import shutil

    plugin = ("--plugin", str(bench.plugin))
    others = make_images(tmp_path / "others", per_class=1)
    (others / "Training" / "glioma").rename(others / "Training" / "pituitary")
    assert "has the classes" in refused(bench, "predict", str(bench.out), str(others), *plugin)
    assert "no kept model" in refused(bench, "predict", str(tmp_path), str(bench.images))
    damaged = tmp_path / "damaged"
    shutil.copytree(find_model(bench.out), damaged)
    (damaged / "model.safetensors").write_bytes(b"others")
    assert "is not as it was written" in refused(bench, "predict", str(damaged), str(bench.images), *plugin)
    newer = tmp_path / "newer"
    shutil.copytree(find_model(bench.out), newer)
    values = json.loads((newer / "model.json").read_text())
    (newer / "model.json").write_text(json.dumps({**values, "format": 2, "version": "9.0"}))
    assert "made by a newer TumorBoard (9.0" in refused(bench, "predict", str(newer), str(bench.images), *plugin)
    assert "give it by --plugin" in refused(bench, "predict", str(bench.out), str(bench.images))


def outside(script: str, folder: Path, pixels: Any, tmp_path: Path, *words: str) -> Any:
    """Return the probabilities that a script gives which imports only the model's library."""
    np.save(tmp_path / "pixels.npy", pixels)
    target = tmp_path / "probabilities.npy"
    done = subprocess.run(
        [sys.executable, str(OUTSIDE / script), str(folder), str(tmp_path / "pixels.npy"), str(target), *words],
        capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return np.load(target)


def own_probabilities(bench: Bench, key: str) -> tuple[Any, Any]:
    """Return prepared test images of a run and the probabilities in its record."""
    import os

    from benchmark.data.options import DataOptions, open_data

    (pair,) = [pair for pair in RecordStore(bench.out).read_all() if pair[0].key == key]
    assert pair[1] is not None
    test = pair[1].part("test")
    os.environ["TUMORBOARD_CACHE"] = str(bench.images.parent / "cache")
    size = pair[0].identity["recipe"]["size"]
    data = open_data(DataOptions(str(bench.images), size=size))
    places = {name: place for place, name in enumerate(data.image_ids.tolist())}
    return data.pixels[[places[name] for name in test.image_ids.tolist()]], test.probabilities


def test_torch_alone_reads_it_and_gives_the_same_probabilities(bench: Bench, tmp_path: Path) -> None:
    own_file = tmp_path / "own.py"
    own_file.write_text("def build" + PLUGIN.partition("def build")[2].partition("@backbone")[0])
    folder = find_model(bench.out)
    pixels, before = own_probabilities(bench, Model.read(folder).key)
    after = outside("read_torch.py", folder, pixels, tmp_path, str(own_file))
    np.testing.assert_allclose(after, before, atol=2e-4)


def test_timm_and_keras_alone_read_what_was_kept(tmp_path: Path) -> None:
    """A frozen run of timm, head alone trained, and a Keras network; every model is kept when that is asked for."""
    bench = trained(tmp_path, "--backbone", "timm:test_resnet", "test/keras", "--keep-models", "all",
                    "--weights", "none", "--set", "trainable_from=head", "--size", "32")  # fmt: skip
    folders = {Model.read(folder).backbone.name: folder for folder in kept_models(bench.out)}
    assert set(folders) == {"timm:test_resnet", "test/keras"}
    for name, script in (("timm:test_resnet", "read_torch.py"), ("test/keras", "read_keras.py")):
        pixels, before = own_probabilities(bench, Model.read(folders[name]).key)
        np.testing.assert_allclose(outside(script, folders[name], pixels, tmp_path), before, atol=2e-4)
    for target in ("savedmodel", "tflite", "onnx"):
        done = command(bench, "export", str(folders["test/keras"]), "--to", target, "--whole")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "0 decisions changed" in done.stdout
    together = command(bench, "predict", str(folders["test/keras"]), str(bench.images), "--with",
                       str(folders["timm:test_resnet"]), "--out", str(tmp_path / "both"))  # fmt: skip
    assert together.returncode == 0, together.stderr
    assert "disagreement" in predictions(tmp_path / "both")[0]


def test_none_is_kept_where_none_is_wanted_and_a_better_row_takes_the_place(tmp_path: Path) -> None:
    bench = trained(tmp_path, "--backbone", "test/good", "--keep-models", "none")
    assert not kept_models(bench.out)
    bench = Bench(bench.images, bench.plugin, tmp_path / "kept")  # where no row without a model can be the best
    done = bench.run("--backbone", "test/good", "--seed", "1", "--epochs", "1")
    assert done.returncode == 0
    first = kept_models(bench.out)
    assert len(first) == 1
    assert f"Best model: {first[0]}" in done.stdout
    done = bench.run("--backbone", "test/torch", "--epochs", "6")
    assert done.returncode == 0
    (left,) = kept_models(bench.out)
    assert f"Best model: {left}" in done.stdout


def test_a_model_that_averages_mirror_images_answers_as_its_run_did(tmp_path: Path) -> None:
    from benchmark.evaluation.temperature import scaled

    bench = trained(tmp_path, "--backbone", "test/torch", "--set", "testing.flips=horizontal")
    ((record, before),) = RecordStore(bench.out).read_all()
    assert before is not None
    assert record.network is not None
    assert record.network.execution["views"] == "2 (flips: horizontal)"
    folder, test = find_model(bench.out), before.part("test")
    model = Model.read(folder)
    expected = scaled(test.probabilities, model.calibration.temperature)
    plugin = ("--plugin", str(bench.plugin))
    done = command(bench, "predict", str(folder), str(bench.images), *plugin, "--out", str(tmp_path / "said"))
    assert done.returncode == 0, done.stdout + done.stderr
    said = {row["image"]: [float(row["p_glioma"]), float(row["p_notumor"])] for row in predictions(tmp_path / "said")}
    np.testing.assert_allclose([said[name] for name in test.image_ids.tolist()], expected, atol=1e-4)
    done = command(bench, "export", str(folder), "--to", "torchscript", *plugin)  # a file is the network alone
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'testing.flips = "horizontal"' in (folder / "README.md").read_text()


@pytest.mark.parametrize("target", ["torchscript", "torch-export", "onnx"])
@pytest.mark.parametrize("whole", [True, False])
def test_an_export_is_proven_by_its_own_runtime(bench: Bench, target: str, whole: bool) -> None:
    if target == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    words = ["--whole"] if whole else []
    done = command(bench, "export", str(bench.out), "--to", target, "--plugin", str(bench.plugin), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 decisions changed" in done.stdout
    folder = find_model(bench.out)
    (export,) = [each for each in Model.read(folder).exports if each.target == target and each.whole is whole]
    assert export.largest_difference < 1e-3
    assert export.images == 24
    assert (folder / "exports" / export.file).is_file()
    assert export.file in (folder / "README.md").read_text()


def test_an_export_that_computes_something_else_is_not_kept(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.errors import UserError
    from benchmark.models import export

    def in_child(model: Any, asked: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        with np.load(asked["images"]) as given:
            count = len(given["pixels"])
        right = np.tile([0.9, 0.1], (count, 1))
        np.savez(
            asked["leave"], probabilities=right if asked["do"] == "reference" else right + np.array([-0.01, 0.01])
        )
        Path(asked.get("path", tmp_path / "x")).write_bytes(b"file")
        return {"runtime": "a runtime", "latency_p50_ms": 1.0, "made_by": {}}

    monkeypatch.setattr(export, "in_child", in_child)
    monkeypatch.setenv("TUMORBOARD_CACHE", str(bench.images.parent / "cache"))
    folder = find_model(bench.out)
    before = Model.read(folder).exports
    with pytest.raises(UserError, match=r"by up to 0\.01 on 24 images \(at most 0\.001 is allowed\), 0 decisions"):
        export.export_model(folder, "torchscript", whole=True)
    assert Model.read(folder).exports == before
    with pytest.raises(UserError, match="is a network of torch, which has no tflite"):
        export.export_model(folder, "tflite", whole=True)
