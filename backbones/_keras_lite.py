"""EfficientNet-Lite0 in Keras, with timm's names and timm's ImageNet weights.

``keras.applications`` has no Lite network. This one is timm's ``tf_efficientnet_lite0`` layer by layer, so that one
pretrained network can be compared across frameworks; ``parity`` certifies that the two give the same logits.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from backbones._cache import cache_root
from backbones._timm import check_hub
from backbones._weight_files import problem_with_file
from backbones.registry import MissingWeights

_CONVERSION_SECONDS = 300
# kernel, stride, expansion, output channels, repeats (Tan & Le 2019, table 1; Lite leaves out squeeze-and-excitation)
_STAGES = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)  # fmt: skip


def efficientnet_lite0(num_classes: int, input_size: int) -> Any:
    """Return the network with random weights: float32 in the range -1 to 1, shape (B, S, S, 3), to logits (B, C)."""
    import keras
    from keras import layers

    def convolution(x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
        return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(x)

    def depthwise(x: Any, kernel: int, stride: int, name: str) -> Any:
        return layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=name)(x)

    def normalized(x: Any, name: str, *, activated: bool = True) -> Any:
        x = layers.BatchNormalization(epsilon=1e-3, name=name)(x)
        return layers.ReLU(6.0, name=f"{name}.act")(x) if activated else x

    inputs = keras.Input((input_size, input_size, 3))
    x = normalized(convolution(inputs, 32, 3, 2, "conv_stem"), "bn1")
    for stage, (kernel, first_stride, expansion, filters, repeats) in enumerate(_STAGES):
        for repeat in range(repeats):
            name, stride, entry = f"blocks.{stage}.{repeat}", first_stride if repeat == 0 else 1, x
            if expansion == 1:
                x = normalized(depthwise(x, kernel, stride, f"{name}.conv_dw"), f"{name}.bn1")
                x = normalized(convolution(x, filters, 1, 1, f"{name}.conv_pw"), f"{name}.bn2", activated=False)
            else:
                x = normalized(convolution(x, expansion * x.shape[-1], 1, 1, f"{name}.conv_pw"), f"{name}.bn1")
                x = normalized(depthwise(x, kernel, stride, f"{name}.conv_dw"), f"{name}.bn2")
                x = normalized(convolution(x, filters, 1, 1, f"{name}.conv_pwl"), f"{name}.bn3", activated=False)
            if stride == 1 and entry.shape[-1] == filters:
                x = layers.Add(name=f"{name}.add")([x, entry])
    x = normalized(convolution(x, 1280, 1, 1, "conv_head"), "bn2")
    x = layers.GlobalAveragePooling2D(name="global_pool")(x)
    return keras.Model(inputs, layers.Dense(num_classes, name="classifier")(x), name="efficientnet_lite0")


def load_timm_weights(model: Any, path: Path) -> str:
    """Load timm's weights into a network whose layers bear timm's names; a classifier of other classes is left out.

    Args:
        model: a Keras network.
        path: a ``.safetensors`` file, or a torch file of tensors, which a process of its own reads by torch.

    Returns:
        What was loaded, for people.

    Raises:
        MissingWeights: the file can't be read, or does not fit.
    """
    state = _read(path)
    layers = [layer for layer in model.layers if layer.weights]
    names = [f"{layer.name}.{kind}" for layer in layers for kind in _kinds(layer)]
    if "_conv_stem.weight" in state and len(state) == len(names):  # other names for the same tensors in one order
        state = dict(zip(names, state.values(), strict=True))
    classes = state["classifier.weight"].shape[0] if "classifier.weight" in state else 0
    pairs = []
    for layer in layers:
        if layer.name == "classifier" and classes != layer.kernel.shape[-1]:
            continue
        for kind, variable in zip((k for k in _kinds(layer) if k != _COUNT), layer.weights, strict=True):
            value = state.get(f"{layer.name}.{kind}")
            value = None if value is None else _in_keras_layout(value, variable.shape)
            if value is None or value.shape != tuple(variable.shape):
                raise MissingWeights(f"The weights in {path} don't fit {model.name}: {layer.name}.{kind} is missing.")
            pairs.append((variable, value))
    for variable, value in pairs:
        variable.assign(value)
    model.classifier_is_new = classes != layers[-1].kernel.shape[-1]
    replaced = "" if classes == layers[-1].kernel.shape[-1] else f" (its classifier of {classes} classes replaced)"
    return path.name + replaced


def fetch_from_hub(hub_id: str) -> Path:
    """Return the file of a model's weights, fetched from the hub; raises ``MissingWeights``."""
    check_hub(hub_id)
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(hub_id, "model.safetensors"))
    except (OSError, ValueError) as error:
        raise MissingWeights(f"{hub_id} can't be fetched from the hub: {str(error)[:200]}") from error


_COUNT = "num_batches_tracked"


def _kinds(layer: Any) -> tuple[str, ...]:
    """Return the names that torch gives a layer's tensors, in the order of Keras's weights."""
    if hasattr(layer, "moving_mean"):
        return "weight", "bias", "running_mean", "running_var", _COUNT
    return ("weight", "bias") if layer.use_bias else ("weight",)


def _in_keras_layout(value: Any, shape: Any) -> Any:
    if value.ndim == 4:  # (out, in, H, W) to (H, W, in, out); depthwise (C, 1, H, W) to (H, W, C, 1)
        return value.transpose(2, 3, 0, 1) if value.shape[1] == 1 != shape[2] else value.transpose(2, 3, 1, 0)
    return value.T


def _read(path: Path) -> dict[str, Any]:
    """Return the tensors of a file by name, as NumPy arrays, in the order of the network."""
    from safetensors import SafetensorError, safe_open

    wrong = problem_with_file(path)
    if wrong:
        raise MissingWeights(f"The weights in {path} are not read: {wrong}.")
    file = path if path.suffix == ".safetensors" else _as_safetensors(path)
    try:
        with safe_open(file, framework="numpy") as tensors:
            names = json.loads((tensors.metadata() or {}).get("order", "null")) or list(tensors.keys())
            return {name: tensors.get_tensor(name) for name in names}
    except (OSError, ValueError, SafetensorError) as error:
        raise MissingWeights(f"The weights in {path} can't be read: {str(error)[:200]}") from error


def _as_safetensors(path: Path) -> Path:
    """Return a torch file of tensors as a ``.safetensors`` file in the cache.

    torch reads it, in a process of its own since TensorFlow and torch crash in one, and unpickles nothing but
    tensors.
    """
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        target = cache_root() / "weights" / f"{digest}.safetensors"
    except OSError as error:
        raise MissingWeights(f"The weights in {path} can't be read: {error}") from error
    if not target.exists():
        command = [sys.executable, "-P", "-m", __name__, str(path), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CONVERSION_SECONDS, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise MissingWeights(f"The weights in {path} can't be read by torch: {reason[:200]}")
    return target


def _convert(source: Path, target: Path) -> None:
    """Write a torch file's tensors as ``.safetensors``, their order in its header."""
    from safetensors.torch import save_file

    from backbones._timm import read_tensors

    state = read_tensors(source)
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)  # for others to read, whatever the umask
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        part = Path(folder) / target.name
        tensors = {name: value.contiguous() for name, value in state.items()}
        save_file(tensors, part, {"order": json.dumps(list(state))})
        part.replace(target)


if __name__ == "__main__":
    _convert(Path(sys.argv[1]), Path(sys.argv[2]))
