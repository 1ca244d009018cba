"""Weights of Keras networks from files in the library's own formats, and what happens without them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones import MissingWeights
from backbones.registry import Backbone, load_registry
from tests.engines.keras_small import shut_out_torch

SIZE = 32
SaveAs = Callable[[Any, Path], Path]


def legacy(model: Any, folder: Path) -> Path:
    """Write the layout of Keras 1 and 2, that of the files which ``keras.applications`` fetches."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    path = folder / "weights.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


def keras3(model: Any, folder: Path) -> Path:
    model.save_weights(folder / "model.weights.h5")
    return folder / "model.weights.h5"


def archive(model: Any, folder: Path) -> Path:
    model.save(folder / "model.keras")
    return folder / "model.keras"


FORMATS = [legacy, keras3, archive]
THE_TWO_LAYOUTS = FORMATS[:2]  # an archive holds the second


def backbone(name: str) -> Backbone:
    shut_out_torch()
    import keras

    keras.utils.clear_session()
    return load_registry().get(name)


def shaken(model: Any, seed: int = 0) -> Any:
    """Give every weight a value that no initialiser gives."""
    generator = np.random.default_rng(seed)
    model.set_weights([generator.uniform(0.5, 1.0, array.shape) for array in model.get_weights()])
    return model


def values(model: Any, *, head: bool) -> list[Any]:
    layers = [layer for layer in model.layers if layer.weights]
    return [array for layer in (layers if head else layers[:-1]) for array in layer.get_weights()]


def assert_equal(first: list[Any], second: list[Any]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.tensorflow
@pytest.mark.parametrize("save", FORMATS)
@pytest.mark.parametrize("name", ["keras/vgg16", "keras_cv/vgg16", "keras:MobileNetV3Small"])
def test_a_file_of_the_same_network_is_loaded_whole(name: str, save: SaveAs, tmp_path: Path) -> None:
    saved = shaken(backbone(name).make(3, None, SIZE))
    path = save(saved, tmp_path)
    loaded = backbone(name).make(3, path, SIZE)
    assert_equal(values(loaded, head=True), values(saved, head=True))
    assert loaded.weights_loaded == f"{path.name} (all layers)"


@pytest.mark.tensorflow
@pytest.mark.parametrize("save", THE_TWO_LAYOUTS)
@pytest.mark.parametrize("head", ["of 7 classes", "none", "keras.applications'"])
def test_a_file_with_another_head_or_none_gives_the_rest(head: str, save: SaveAs, tmp_path: Path) -> None:
    import keras

    adapter = backbone("keras:MobileNetV3Small")
    build = keras.applications.MobileNetV3Small
    if head == "none":
        saved = build(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    elif head == "of 7 classes":
        saved = adapter.make(7, None, SIZE)
    else:
        saved = build(weights=None, classes=11, input_shape=(SIZE, SIZE, 3))
    path = save(shaken(saved), tmp_path)
    loaded = backbone("keras:MobileNetV3Small").make(3, path, SIZE)
    found = values(loaded, head=False)
    assert_equal(found, values(saved, head=True)[: len(found)])
    assert loaded.layers[-1].kernel.shape == (576, 3)
    assert loaded.weights_loaded == f"{path.name} (all layers but the head)"


@pytest.mark.tensorflow
@pytest.mark.parametrize("save", FORMATS)
def test_a_file_of_another_network_is_refused_in_one_sentence(save: SaveAs, tmp_path: Path) -> None:
    path = save(backbone("keras/baseline_cnn").make(3, None, SIZE), tmp_path)
    with pytest.raises(MissingWeights, match=f"weights in {path} don't fit vgg16: ") as raised:
        backbone("keras/vgg16").make(3, path, SIZE)
    assert "\n" not in str(raised.value)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["notes.txt", "broken.h5", "broken.weights.h5", "broken.keras", "absent.h5"])
def test_what_is_no_file_of_weights_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if not name.startswith("absent"):
        path.write_bytes(b"\x89HDF\r\n\x1a\n, or so it says")
    with pytest.raises(MissingWeights, match=name) as raised:
        backbone("keras/vgg16").make(3, path, SIZE)
    assert "\n" not in str(raised.value)


@pytest.mark.tensorflow
@pytest.mark.parametrize("save", THE_TWO_LAYOUTS)
def test_a_local_efficientnet_gets_the_inputs_that_the_fetched_one_gets(save: SaveAs, tmp_path: Path) -> None:
    """Keras divides by the square root of the standard deviation once more, but not for weights from a path."""
    import keras

    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    saved = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    normalization = next(layer for layer in saved.layers if isinstance(layer, keras.layers.Normalization))
    normalization.adapt_mean.assign(mean)
    normalization.adapt_variance.assign(std**2)
    path = save(saved, tmp_path)

    def seen_by_the_stem(weights: Path | None) -> Any:
        from benchmark.engines.keras.stages.graph import find_stages, first_layer_input, readable

        model = readable(backbone("keras/efficientnet_b0").make(3, weights, SIZE), SIZE)
        pixels = np.full((1, SIZE, SIZE, 3), 200, dtype=np.float32)
        return np.asarray(first_layer_input(find_stages(model))(pixels))[0, 5, 5]

    expected = (200 / 255 - mean) / std / np.sqrt(std)
    np.testing.assert_allclose(seen_by_the_stem(path), expected, rtol=1e-5)
    np.testing.assert_allclose(seen_by_the_stem(None), 200 / 255, rtol=1e-5)

    # weights that were trained from scratch in Keras had no such inputs
    normalization.adapt_mean.assign(np.zeros(3))
    normalization.adapt_variance.assign(np.ones(3))
    np.testing.assert_allclose(seen_by_the_stem(save(saved, tmp_path)), 200 / 255, rtol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["keras/vgg16", "keras_cv/efficientnet_v2_b0"])
def test_imagenet_without_a_network_is_missing_weights_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket
    import time

    def unreachable(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    from keras.src.utils import file_utils

    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    adapter = backbone(name)
    adapter.make(3, None, SIZE)  # imports
    start = time.perf_counter()
    with pytest.raises(MissingWeights, match="can't be fetched") as raised:
        adapter.make(3, "imagenet", SIZE)
    assert time.perf_counter() - start < 20
    assert "\n" not in str(raised.value)


@pytest.mark.tensorflow
def test_errors_that_are_not_the_networks_stay_what_they_are() -> None:
    from backbones._keras import fetching

    with pytest.raises(ZeroDivisionError), fetching("nothing", "http://127.0.0.1:9"):
        _ = 1 / 0


def test_weights_at_hand_are_those_that_keras_and_kaggle_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    registry = load_registry()
    kept = {
        "keras/vgg16": "keras/models/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "keras/resnet50": "keras/models/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "keras/efficientnet_b0": "keras/models/efficientnetb0_notop.h5",
        "keras:EfficientNetB0": "keras/models/efficientnetb0_notop.h5",
        "keras_cv/resnet50": "kaggle/models/keras/resnetv1/keras/resnet50_imagenet/2/model.weights.h5",
    }
    for name, place in kept.items():
        find = registry.get(name).local_weights
        assert find is not None
        assert find() is None
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        write_small_hdf5(path)
        assert find() == path
        path.write_bytes(path.read_bytes()[:-10])  # a download that was cut off
        assert find() is None
        path.unlink()


def write_small_hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["values"] = np.arange(100)


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_both_layouts_of_hdf5_are_known(version: str, tmp_path: Path) -> None:
    import h5py

    from backbones._keras import _is_complete

    path = tmp_path / "file.h5"
    with h5py.File(path, "w", libver=version) as file:
        file["values"] = np.arange(100)
    assert _is_complete(path)
    path.write_bytes(path.read_bytes()[:-10])
    assert not _is_complete(path)


def test_every_keras_network_has_a_name_without_importing_keras() -> None:
    import subprocess
    import sys

    script = """
import sys
from backbones._any_keras import find, known_names
names = known_names()
print(len(names), *names)
for name in names:
    found = find(name.removeprefix("keras:"))
    assert found.preprocessing is not None and found.input_size >= 224
    found.local_weights and found.local_weights()
assert not {"keras", "tensorflow", "torch", "numpy"} & set(sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert int(said[0]) >= 38
    assert {"keras:ResNet50", "keras:EfficientNetV2B0", "keras:ConvNeXtTiny", "keras:NASNetMobile"} <= set(said)
    families = [load_registry().get(f"keras:{name}").family for name in ("VGG19", "ResNet50V2", "MobileNetV3Small")]
    assert families == ["vgg", "resnet", "mobilenet"]
    with pytest.raises(KeyError):
        load_registry().get("keras:ResNet51")


@pytest.mark.tensorflow
def test_names_sizes_and_preprocessing_are_the_librarys() -> None:
    """One network of each family is built; the others are only looked up."""
    import inspect

    import keras

    from backbones._any_keras import find, known_names
    from backbones._keras import _library_preprocessing

    functions = {
        name
        for name, value in vars(keras.applications).items()
        if inspect.isfunction(value) and "classes" in inspect.signature(value).parameters
    }
    assert {f"keras:{name}" for name in functions} == set(known_names())
    for name in functions:
        assert find(name).preprocessing == _library_preprocessing(getattr(keras.applications, name)), name


def test_a_list_of_names_that_hdf5_split_is_whole_again() -> None:
    from types import SimpleNamespace

    from backbones._keras import _names

    group = SimpleNamespace(attrs={"layer_names0": [b"a", b"b"], "layer_names1": ["c"]})
    assert _names(group, "layer_names") == ["a", "b", "c"]
    assert _names(group, "weight_names") == []


@pytest.mark.tensorflow
def test_the_code_in_an_archive_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``.keras`` file may describe a Lambda layer with code of its own; the description is not read."""
    import keras

    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((8, 8, 3))
    hostile = keras.layers.Lambda(
        lambda x: __import__("pathlib").Path("exploded").touch() or x, output_shape=(8, 8, 3)
    )
    path = tmp_path / "hostile.keras"
    keras.Model(inputs, keras.layers.Dense(3)(hostile(inputs))).save(path)
    Path("exploded").unlink(missing_ok=True)  # saving traced it
    with pytest.raises(MissingWeights, match=r"hostile\.keras") as raised:
        backbone("keras/vgg16").make(3, path, SIZE)
    assert "\n" not in str(raised.value)
    assert not Path("exploded").exists()


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["linked.h5", "linked.weights.h5", "linked.keras"])
def test_a_file_that_leads_to_others_is_refused(name: str, tmp_path: Path) -> None:
    import zipfile

    import h5py

    secret = tmp_path / "secret"
    secret.write_bytes(b"12345678")
    inner = tmp_path / "inner"
    with h5py.File(inner, "w") as file:
        file.attrs["layer_names"] = [b"conv2d"]
        file.create_group("conv2d").create_dataset("kernel", (8,), "u1", external=[(str(secret), 0, 8)])
    path = tmp_path / name
    if name.endswith(".keras"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(inner, "model.weights.h5")
    else:
        inner.rename(path)
    with pytest.raises(MissingWeights, match="leads out of the file"):
        backbone("keras/vgg16").make(3, path, SIZE)
