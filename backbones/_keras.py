"""What the adapters of Keras networks share: their head, and weights from the network, a cache or a file.

Nothing is imported with the module but the standard library: listing and planning ask here for weights at hand.
"""

import math
import os
import socket
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from backbones._network import answers, without_network
from backbones._weight_files import (
    Unfit,
    allowed_bytes,
    problem_with_file,
    problem_with_hdf5,
    require_bounded_archive,
)
from backbones.registry import CAFFE, HALF, IMAGENET, RAW, MissingWeights, Preprocessing

_SECONDS = 20  # without an answer for so long, a download has stopped
# Where keras.applications and kagglehub fetch from.
_APPLICATIONS, _KAGGLE = "https://storage.googleapis.com", "https://www.kaggle.com"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PIECE = 2**20  # bytes that are unpacked at once
_HDF5 = b"\x89HDF\r\n\x1a\n"


def application(name: str, num_classes: int, weights: Path | str | None, input_size: int, **arguments: Any) -> Any:
    """Return a network of ``keras.applications`` with global average pooling and a dense layer as its head.

    Args:
        name: of the function there (``ResNet50``).
        num_classes: number of logits.
        weights: ``None``, ``"imagenet"`` or the path of a file.
        input_size: side of the square input, in pixels.
        arguments: of the function there, beside these (``alpha`` of ``MobileNetV2``).

    Raises:
        MissingWeights: see :func:`with_head`; or ImageNet's can't be fetched.
    """
    import keras

    build = getattr(keras.applications, name)
    features_of = partial(build, include_top=False, input_shape=(input_size, input_size, 3), **arguments)
    if weights == "imagenet":
        with fetching(f"The ImageNet weights of keras.applications.{name}", _APPLICATIONS):
            features = features_of(weights="imagenet")
    else:
        features = features_of(weights=None)
    model = with_head(features, num_classes, weights if isinstance(weights, Path) else None)
    model.library_preprocessing = _library_preprocessing(build)
    model.classifier_is_new = model.classifier_is_new or weights == "imagenet"
    return model


def with_head(features: Any, num_classes: int, weights: Path | None = None) -> Any:
    """Return a model of feature maps with global average pooling and a dense layer of logits on top.

    Args:
        features: a functional model whose output is a feature map.
        num_classes: number of logits.
        weights: a file of the features' weights, with or without some head's: ``.weights.h5``, ``.h5``, ``.keras``.

    Raises:
        MissingWeights: the file can't be read, or does not fit.
    """
    import keras

    pooled = keras.layers.GlobalAveragePooling2D(name="avg_pool")(features.output)
    logits = keras.layers.Dense(num_classes, name="predictions")
    model = keras.Model(features.input, logits(pooled), name=features.name)
    model.classifier_is_new = False
    if weights is None:
        return model
    loaded = f"{weights.name} ({load(model, features, weights)})"
    if _needs_imagenet_scaling(features):
        features = _with_imagenet_scaling(features)
        pooled = keras.layers.GlobalAveragePooling2D(name="avg_pool")(features.output)
        model = keras.Model(features.input, logits(pooled), name=features.name)
    model.weights_loaded = loaded
    model.classifier_is_new = "but the head" in loaded
    return model


# --- files --------------------------------------------------------------------------------------------------------


def load(model: Any, features: Any, path: Path) -> str:
    """Load a file into a model, or into its features alone where the file's head is another or absent.

    Weights are read as arrays; nothing in the file is ever executed, not even in a ``.keras`` archive.

    Returns:
        What was loaded, for people.

    Raises:
        MissingWeights: the file can't be read, or does not fit.
    """
    with looked_through(path) as hdf5:
        reads: Callable[[Any, Path], None] = _load_legacy if _is_legacy(hdf5) else _load_keras3
        try:
            reads(model, hdf5)
        except (ValueError, KeyError):
            pass  # with another head, or with none
        except OSError as error:
            raise MissingWeights(f"The weights in {path} can't be read: {_first_line(error)}") from error
        else:
            return "all layers"
        try:
            reads(features, hdf5)
        except (ValueError, KeyError, OSError) as error:
            raise MissingWeights(f"The weights in {path} don't fit {model.name}: {_first_line(error)}") from error
    return "all layers but the head"


@contextmanager
def looked_through(path: Path) -> Iterator[Path]:
    """Give the HDF5 file that a file of weights is, or that a ``.keras`` archive holds, when it was looked through:
    it leads to no other file, and its arrays take about as much memory as it has bytes.

    Raises:
        MissingWeights: it is no such file.
    """
    wrong = problem_with_file(path)
    if wrong:
        raise MissingWeights(f"The weights in {path} are not read: {wrong}.")
    with tempfile.TemporaryDirectory(prefix="tumorboard-") as folder:
        try:
            hdf5 = _from_archive(path, Path(folder)) if zipfile.is_zipfile(path) else path
            wrong = problem_with_hdf5(hdf5, allowed_bytes(path))
            if wrong:
                raise Unfit(wrong)
        except Unfit as unfit:
            raise MissingWeights(f"The weights in {path} are not read: {unfit}.") from None
        except (OSError, KeyError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise MissingWeights(
                f"{path} is not a file of Keras weights (.weights.h5, .h5, .keras), or it is broken: "
                f"{_first_line(error)}"
            ) from error
        yield hdf5


def _from_archive(path: Path, folder: Path) -> Path:
    """Unpack the weights of a ``.keras`` archive into a folder, and nothing else of it; return their path."""
    require_bounded_archive(path)
    hdf5 = folder / "model.weights.h5"
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(hdf5.name)
        left = entry.file_size  # read by pieces: a member may unpack to more than its entry says
        with archive.open(entry) as packed, hdf5.open("wb") as unpacked:
            while left > 0 and (piece := packed.read(min(left, _PIECE))):
                left -= unpacked.write(piece)
    return hdf5


def _is_legacy(path: Path) -> bool:
    """Return whether a file has the layout of Keras 1 and 2, that of the files of ``keras.applications``."""
    import h5py

    with h5py.File(path, "r") as file:
        return "layer_names" in _root(file).attrs or "layer_names0" in _root(file).attrs


def _load_keras3(model: Any, path: Path) -> None:
    if not path.name.endswith(".weights.h5"):
        raise MissingWeights(f"{path}: Keras 3 asks that its files of weights end in .weights.h5 or .keras.")
    model.load_weights(path)


def _load_legacy(model: Any, path: Path) -> None:
    """Assign layers in order, as Keras does, but let a file have more layers than the model, and check first."""
    import h5py

    layers = [layer for layer in model.layers if layer.weights]
    with h5py.File(path, "r") as file:
        group = _root(file)
        stored = [group[name] for name in _names(group, "layer_names") if _names(group[name], "weight_names")]
        if len(stored) < len(layers):
            raise ValueError(f"it has weights of {len(stored)} layers instead of {len(layers)}")
        pairs: list[tuple[Any, Any]] = []
        for layer, of_layer in zip(layers, stored, strict=False):
            variables = layer.trainable_weights + layer.non_trainable_weights
            arrays = [of_layer[name] for name in _names(of_layer, "weight_names")]
            if [variable.shape for variable in variables] != [array.shape for array in arrays]:
                shapes = f"{[a.shape for a in arrays]} instead of {[tuple(v.shape) for v in variables]}"
                raise ValueError(f"for layer {layer.name} it has {of_layer.name} of shapes {shapes}")
            pairs += zip(variables, (array[()] for array in arrays), strict=True)
    for variable, array in pairs:
        variable.assign(array)
    for layer in layers:
        if hasattr(layer, "finalize_state"):  # Normalization computes with what it derives from its weights
            layer.finalize_state()


def _root(file: Any) -> Any:
    return file.get("model_weights", file)


def _names(group: Any, attribute: str) -> list[str]:
    """Return a list of names from an attribute, which HDF5's limit of 64 KiB may have split."""
    parts: Sequence[Any] = group.attrs.get(attribute, ())
    if attribute not in group.attrs:
        numbered = [f"{attribute}{number}" for number in range(len(group.attrs))]
        parts = [name for key in numbered if key in group.attrs for name in group.attrs[key]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in parts]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


# --- EfficientNet's input -----------------------------------------------------------------------------------------


def _needs_imagenet_scaling(features: Any) -> bool:
    """Return whether these are ImageNet's EfficientNet weights, loaded from a file.

    ``keras.applications`` divides by the square root of the standard deviation once more with
    ``weights="imagenet"``, and leaves that out with the same weights from a path. Weights that were trained
    otherwise have other statistics in their Normalization layer.
    """
    if not features.name.startswith("efficientnetb"):
        return False
    mean = _normalization(features).adapt_mean.numpy()
    return all(math.isclose(a, b, abs_tol=1e-4) for a, b in zip(mean, _MEAN, strict=True))


def _with_imagenet_scaling(features: Any) -> Any:
    import keras

    rescaling = keras.layers.Rescaling([1 / math.sqrt(std) for std in _STD])
    after = _normalization(features).output
    return keras.Model(features.input, keras.Model(after, features.output)(rescaling(after)), name=features.name)


def _normalization(features: Any) -> Any:
    import keras

    return next(layer for layer in features.layers if isinstance(layer, keras.layers.Normalization))


# --- what the library says of its input ---------------------------------------------------------------------------


def _library_preprocessing(build: Any) -> Preprocessing | None:
    """Return which of the known kinds the ``preprocess_input`` beside a function of ``keras.applications`` is."""
    import importlib

    import numpy as np

    pixels = np.array([[0, 0, 0], [255, 255, 255], [10, 100, 200]], dtype=np.float32).reshape(1, 1, 3, 3)
    prepared = importlib.import_module(build.__module__).preprocess_input(pixels.copy())
    for kind in (RAW, CAFFE, HALF, IMAGENET):
        channels = pixels[..., ::-1] if kind.channel_order == "bgr" else pixels
        if np.allclose(prepared, (channels * kind.scale - np.array(kind.mean)) / np.array(kind.std), atol=1e-3):
            return kind
    return None


# --- the network, and what it left --------------------------------------------------------------------------------


@contextmanager
def fetching(what: str, server: str) -> Iterator[None]:
    """Raise ``MissingWeights`` where the network fails inside, and don't wait for it for long.

    Where the server doesn't answer, what the downloader finds on this machine still does.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS)
    try:
        with ExitStack() as stack:
            if not answers(server):
                stack.enter_context(without_network(f"{server} can't be reached"))
            yield
    except Exception as error:  # Keras raises a bare Exception, kagglehub those of requests
        if not isinstance(error, OSError) and "URL fetch failure" not in str(error):
            raise
        reason = _first_line(error).rpartition(" -- ")[2]  # Keras puts the address before it
        raise MissingWeights(f"{what} can't be fetched: {reason}") from error
    finally:
        socket.setdefaulttimeout(before)


def cached_application(file_name: str) -> Path | None:
    """Return a file that Keras's downloader left on this machine, if it is all there."""
    home = os.environ.get("KERAS_HOME")
    path = (Path(home) if home else Path.home() / ".keras") / "models" / file_name
    return path if _is_complete(path) else None


def cached_kaggle(handle: str, file_name: str = "model.weights.h5") -> Path | None:
    """Return a file that kagglehub left on this machine for a handle such as ``keras/vit/keras/vit_base/2``."""
    cache = os.environ.get("KAGGLEHUB_CACHE")
    path = (Path(cache) if cache else Path.home() / ".cache" / "kagglehub") / "models" / handle / file_name
    return path if _is_complete(path) else None


def kaggle(handle: str, weights: Path | str | None, file_name: str = "model.weights.h5") -> Path | None:
    """Return the file to load: for ``"imagenet"`` that of a model on Kaggle, fetched where it is not at hand.

    Raises:
        MissingWeights: it can't be fetched.
    """
    if weights != "imagenet":
        return Path(weights) if weights else None
    cached = cached_kaggle(handle, file_name)
    if cached is not None:
        return cached
    import kagglehub  # type: ignore[import-untyped]

    with fetching(f"The weights of {handle} on Kaggle", _KAGGLE):
        return Path(kagglehub.model_download(handle, file_name))


def _is_complete(path: Path) -> bool:
    """Return whether a file is HDF5 and as long as its superblock says: a broken download is shorter."""
    try:
        with path.open("rb") as file:
            head = file.read(48)
        size = path.stat().st_size
    except OSError:
        return False
    if len(head) < 48 or not head.startswith(_HDF5):
        return False
    end = head[40:48] if head[8] < 2 else head[28:36]  # versions 0 and 1, and 2 and 3, place the end of file so
    return size >= int.from_bytes(end, "little")
