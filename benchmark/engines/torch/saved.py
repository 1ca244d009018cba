"""A torch module's weights under its library's own names, and how that library reads them.

Before the harness cuts a module into stages and replaces its head, it notes where each entry of its ``state_dict``
is. Whether timm, without this program, computes the same from the files is not assumed: it is tried on two images.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.engines.base import NotKept, SavedNetwork
from benchmark.engines.torch.head import Pooling

WEIGHTS, HEAD_WEIGHTS = "model.safetensors", "head.safetensors"
_TOLERANCE = 1e-4  # of logits, relative to the largest: the same kernels, summed in another order

State = dict[str, Tensor]
Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LibraryNetwork:
    """A module as its library knows it.

    Args:
        model: as it was built; its stages may have taken it apart since.
        num_classes: of its classifier.
        size: side of its square input, in pixels.
        entries: the module and the attribute that hold each entry of its ``state_dict``, by name.
        head: the recipe's head, which stands in place of the module's own; ``None`` where that is kept.
        config: what timm says of the model; empty for other modules.
    """

    model: nn.Module
    num_classes: int
    size: int
    entries: Mapping[str, tuple[nn.Module, str]]
    head: nn.Sequential | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, num_classes: int, size: int) -> "LibraryNetwork":
        """Return a module that has just been built."""
        entries = {}
        for path, module in model.named_modules(remove_duplicate=False):
            lasting = [name for name in module._buffers if name not in module._non_persistent_buffers_set]
            for name in (*module._parameters, *lasting):
                if getattr(module, name) is not None:
                    entries[f"{path}.{name}" if path else name] = (module, name)
        config = getattr(model, "pretrained_cfg", None)
        return cls(model, num_classes, size, entries, config=config if isinstance(config, Mapping) else {})

    def save(self, folder: Path, example: Tensor, logits: Tensor) -> SavedNetwork:
        """Write the weights into an empty folder; say what reads them.

        Args:
            folder: where to.
            example: two normalised inputs.
            logits: what the network gives for them in inference mode, in float32.

        Raises:
            NotKept: the module's ``state_dict`` holds what is no weight of one of its modules.
        """
        state = {name: getattr(module, own).detach().cpu() for name, (module, own) in self.entries.items()}
        head = _dense_layers(self.head)
        saved, state = self._reading(state, head, example.cpu(), logits.cpu())
        saved = replace(saved, licence=str(self.config.get("license") or ""))
        _write(folder / WEIGHTS, state)
        if len(saved.files) > 1:
            _write(folder / HEAD_WEIGHTS, {f"{name}.{part}": value.detach().cpu() for name, layer in head.items()
                                           for part, value in layer.state_dict().items()})  # fmt: skip
        return saved

    def load(self, folder: Path) -> None:
        """Fill the network from such files; raises :class:`NotKept` where they are of another."""
        targets = {name: getattr(module, own) for name, (module, own) in self.entries.items()}
        _fill(targets, folder / WEIGHTS)
        if self.head is not None:
            head = _dense_layers(self.head)
            _fill({f"{name}.{part}": value for name, layer in head.items()
                   for part, value in layer.state_dict(keep_vars=True).items()}, folder / HEAD_WEIGHTS)  # fmt: skip

    def _reading(
        self, state: State, head: Mapping[str, nn.Linear], example: Tensor, logits: Tensor
    ) -> tuple[SavedNetwork, State]:
        """Return what reads the weights outside of this program, and the weights for it."""

        def agrees(network: Logits) -> bool:
            try:
                with torch.no_grad():
                    output = network(example)
            except Exception:  # a network of a library may raise anything
                return False
            return output.shape == logits.shape and _largest(output - logits) <= _TOLERANCE * max(1, _largest(logits))

        if not self.config:
            if self.head is None:
                return SavedNetwork((WEIGHTS,), "torch"), state
            before = copy.deepcopy(self.model[:-1]).cpu() if isinstance(self.model, nn.Sequential) else None
            fits = before is not None and agrees(lambda x: _after(self.head, before(x)))
            described = self._described("[:-1]" if fits else "")
            return SavedNetwork((WEIGHTS, HEAD_WEIGHTS), "torch", head=described), state
        arguments = _timm_arguments(self.config, self.num_classes, self.size)
        fresh = _timm_model(arguments, state)
        if fresh is None:
            files = (WEIGHTS,) if self.head is None else (WEIGHTS, HEAD_WEIGHTS)
            return SavedNetwork(files, "torch", head=self._described("") if self.head is not None else {}), state
        if self.head is None:
            reader = "timm" if agrees(fresh) else "torch"
            return SavedNetwork((WEIGHTS,), reader, arguments if reader == "timm" else {}), state
        placed = _in_place(fresh, state, head)
        if placed is not None and agrees(fresh):
            return SavedNetwork((WEIGHTS,), "timm", arguments), placed
        fresh.load_state_dict(state)
        method = "forward_features"
        fits = agrees(lambda x: _after(self.head, fresh.forward_features(x)))
        described = self._described(method if fits else "")
        return SavedNetwork((WEIGHTS, HEAD_WEIGHTS), "timm", arguments, described), state

    def _described(self, method: str) -> dict[str, Any]:
        assert self.head is not None
        pooling = self.head[0]
        assert isinstance(pooling, Pooling)
        return {
            "method": method,
            "pooling": pooling.kind,
            "channels_first": pooling.channels_first,
            "prefix_tokens": pooling.prefix_tokens,
            "layers": list(_dense_layers(self.head)),
        }


def _dense_layers(head: nn.Sequential | None) -> dict[str, nn.Linear]:
    """Return a head's dense layers by the names they are saved under: ``dense`` (not all have one) and ``logits``."""
    layers = [layer for layer in head or () if isinstance(layer, nn.Linear)]
    return dict(zip(("dense", "logits")[-len(layers) :], layers, strict=True)) if layers else {}


def _after(head: nn.Sequential | None, features: Tensor) -> Tensor:
    """Return a head's logits in inference mode, on the CPU; the head is left where it is."""
    assert head is not None
    x = features
    for layer in head:
        if isinstance(layer, nn.Linear):
            x = nn.functional.linear(x, layer.weight.cpu(), layer.bias.cpu())
        elif not isinstance(layer, nn.Dropout):
            x = layer(x)
    return x


def _timm_arguments(config: Mapping[str, Any], num_classes: int, size: int) -> dict[str, Any]:
    """Return what ``timm.create_model`` needs to build a model anew."""
    architecture, tag = str(config.get("architecture", "")), str(config.get("tag") or "")
    name = f"{architecture}.{tag}" if tag else architecture
    fixed = bool(config.get("fixed_input_size")) and size != tuple(config.get("input_size", (3, size, size)))[-1]
    return {"model_name": name, "num_classes": num_classes, **({"img_size": size} if fixed else {})}


def timm_network(arguments: Mapping[str, Any]) -> Any:
    """Return the network of ``timm.create_model``; raises :class:`NotKept` where timm knows none of that name."""
    import timm

    try:
        return timm.create_model(**arguments)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise NotKept(f"timm can't build {arguments.get('model_name')} ({reason})") from error


def _timm_model(arguments: Mapping[str, Any], state: State) -> Any:
    """Return timm's own model with these weights, ``None`` where they don't fit it, name by name."""
    import timm

    try:
        model = timm.create_model(**arguments).eval()
        model.load_state_dict(state, strict=True)
    except Exception:  # a plug-in may have changed what timm built
        return None
    return model


def _in_place(fresh: Any, state: State, head: Mapping[str, nn.Linear]) -> State | None:
    """Put a linear head into a timm model in place of its classifier; return the weights, ``None`` if it can't be."""
    names = [name for name, module in fresh.named_modules() if module is fresh.get_classifier()]
    classifier = fresh.get_classifier()
    logits = head.get("logits")
    if len(head) != 1 or logits is None or len(names) != 1 or not isinstance(classifier, nn.Linear):
        return None
    if classifier.weight.shape != logits.weight.shape or classifier.bias is None:
        return None
    placed = {
        **state,
        f"{names[0]}.weight": logits.weight.detach().cpu(),
        f"{names[0]}.bias": logits.bias.detach().cpu(),
    }
    fresh.load_state_dict(placed, strict=True)
    return placed


def _largest(values: Tensor) -> float:
    return float(values.abs().max())


def _write(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors; two that share memory are written twice."""
    from safetensors.torch import save_file

    save_file({name: value.clone().contiguous() for name, value in state.items()}, path, {"format": "pt"})


def _fill(targets: Mapping[str, Tensor], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise NotKept(f"{path.name} can't be read: {error}") from None
    for name in sorted({*targets, *state}):
        there = tuple(state[name].shape) if name in state else None
        here = tuple(targets[name].shape) if name in targets else None
        if there != here:
            raise NotKept(f"{path.name} is of another network: {name} has shape {there} there and {here} here")
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(state[name])
