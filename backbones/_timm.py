"""What the adapters of timm's networks share: creation, and weights from the hub or from a file.

Nothing is imported with the module but the standard library: listing and planning ask here for weights at hand.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backbones._network import answers
from backbones._weight_files import Unfit, problem_with_file, require_bounded_archive, require_bounded_tensors
from backbones.registry import MissingWeights

_FILES = ("model.safetensors", "pytorch_model.bin")

State = dict[str, Any]
Rename = Callable[[State, list[str]], State]


def create(
    name: str,
    num_classes: int,
    weights: Path | str | None,
    input_size: int,
    rename: Rename | None = None,
    **arguments: Any,
) -> Any:
    """Return a timm model.

    Weights from the hub and the same weights from a file take one path, and so give the same model: the network is
    built with the file's classes, filled strictly, and then given a new classifier if it needs another.

    Args:
        name: of the architecture, with the tag of its weights (``resnet50.a1_in1k``).
        num_classes: number of logits.
        weights: ``None``, ``"imagenet"`` or the path of a ``.safetensors`` or torch file.
        input_size: side of the square input; networks of fixed size are built for it.
        rename: gives a file's tensors the names of the model; called with both.
        arguments: of the architecture, as ``timm.create_model`` takes them (``drop_path_rate``).

    Raises:
        MissingWeights: the hub can't be reached or has none, or the file can't be read or does not fit.
    """
    import timm

    known = timm.models.get_pretrained_cfg(name)
    sized = {"img_size": input_size} if known.fixed_input_size and input_size != known.input_size[-1] else {}
    sized |= arguments
    if weights is None:
        return timm.create_model(name, num_classes=num_classes, **sized)
    if weights == "imagenet":
        state, source = _fetched(name, known), f"imagenet: {known.hf_hub_id or known.url}"
    else:
        state, source = read_tensors(Path(weights)), Path(weights).name
    classes = _classes(state, known)
    if rename is not None:
        state = rename(state, list(timm.create_model(name, num_classes=classes, **arguments).state_dict()))
    try:
        # timm's own path, for its filters: position embeddings are resized, old names translated
        source_cfg = {"state_dict": state, "num_classes": classes, "custom_load": False}
        model = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay=source_cfg, num_classes=classes, **sized
        )
    except (RuntimeError, KeyError, AttributeError) as error:
        detail = " ".join(str(error).split())[:200]
        raise MissingWeights(f"The weights in {source} don't fit timm's {name}: {detail}") from error
    if classes != num_classes:
        model.reset_classifier(num_classes)
        model.classifier_is_new = True
        source += f" (its classifier of {classes} classes replaced)" if classes else " (without classifier)"
    model.weights_loaded = source
    return model


def _classes(state: State, known: Any) -> int:
    """Return the number of classes that a file's classifier has; 0 where it has none."""
    names = (known.classifier,) if isinstance(known.classifier, str) else tuple(known.classifier or ())
    for name in names:
        if f"{name}.weight" in state:
            return int(state[f"{name}.weight"].shape[0])
    last = list(state.values())[-1] if state else None  # other names: a file ends with its classifier's bias
    return int(last.shape[0]) if last is not None and last.ndim == 1 and last.shape[0] == known.num_classes else 0


def read_tensors(path: Path) -> State:
    """Return the tensors in a file, on the CPU. Nothing in a torch file but tensors is ever unpickled."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    wrong = problem_with_file(path)
    if wrong:
        raise MissingWeights(f"The weights in {path} are not read: {wrong}.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        require_bounded_archive(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise MissingWeights(f"The weights in {path} can't be read: {_first_line(error)}") from error
    except Unfit as unfit:
        raise MissingWeights(f"The weights in {path} are not read: {unfit}.") from None
    except Exception as error:  # pickle's own errors: not a file of tensors
        raise MissingWeights(
            f"{path} is not a file of tensors alone, and no other kind of torch file is loaded: {_first_line(error)}"
        ) from error
    for key in ("state_dict_ema", "model_ema", "state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise MissingWeights(f"{path} holds no state dictionary of tensors.")
    try:
        require_bounded_tensors(path, loaded.values())
    except Unfit as unfit:
        raise MissingWeights(f"The weights in {path} are not read: {unfit}.") from None
    return {name.removeprefix("module."): value for name, value in loaded.items()}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


# --- the hub ------------------------------------------------------------------------------------------------------


def _fetched(name: str, known: Any) -> State:
    """Return the weights that timm names for a model, from the hub's cache or the hub."""
    if not known.hf_hub_id:
        raise MissingWeights(f"timm has no pretrained weights for {name}.")
    cached = cached_weights(known.hf_hub_id) if known.hf_hub_filename is None else None
    if cached is not None:
        return read_tensors(cached)
    check_hub(known.hf_hub_id)
    import timm

    arguments = {"filename": known.hf_hub_filename} if known.hf_hub_filename else {}
    try:
        return dict(timm.models.load_state_dict_from_hf(known.hf_hub_id, weights_only=True, **arguments))
    except OSError as error:
        raise MissingWeights(f"{known.hf_hub_id} can't be fetched from the hub: {_first_line(error)}") from error


def check_hub(hub_id: str) -> None:
    """Raise ``MissingWeights`` at once where the hub can't be reached, which its own client tries for a minute."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise MissingWeights(f"{hub_id} is not in the hub's cache, and HF_HUB_OFFLINE is set.")
    if not answers(endpoint):
        raise MissingWeights(f"{hub_id} is not on this machine, and {endpoint} can't be reached.")


def cached_weights(hub_id: str) -> Path | None:
    """Return the file of a hub model's weights that an earlier download left on this machine."""
    folder = _hub_cache() / f"models--{hub_id.replace('/', '--')}"
    try:
        revision = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    for name in _FILES:
        path = folder / "snapshots" / revision / name
        if path.is_file():
            return path
    return None


def _hub_cache() -> Path:
    """Return the folder of the hub's cache, by the rules of ``huggingface_hub``."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser()
    if os.environ.get("HF_HOME"):
        return Path(os.environ["HF_HOME"]).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache).expanduser() if cache else Path.home() / ".cache") / "huggingface" / "hub"
