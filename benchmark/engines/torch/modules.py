"""A torch module as a :class:`~benchmark.engines.torch.network.TorchNetwork`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from backbones import UNIT, MissingWeights, Preprocessing
from benchmark.draws.initialization import input_scale
from benchmark.engines.base import BuildSpec, SavedNetwork
from benchmark.engines.freezing import first_trainable
from benchmark.engines.shared import native_dropout
from benchmark.engines.torch.batch_norm import BiasedVariance, batch_norms, set_batch_norm
from benchmark.engines.torch.device import seed_generators
from benchmark.engines.torch.head import Pooling, new_head
from benchmark.engines.torch.initialization import draw_classifier, draw_initial_weights
from benchmark.engines.torch.network import TorchNetwork, TorchStage
from benchmark.engines.torch.saved import LibraryNetwork
from benchmark.engines.torch.stages.fallback import around_classifier
from benchmark.engines.torch.stages.graph import candidates
from benchmark.engines.torch.stages.stage import HEAD, Piece, from_modules, run
from benchmark.engines.torch.stages.verification import verify
from benchmark.engines.warm_start import draws_classifier, draws_weights, weights_loaded
from benchmark.records.outcomes import Outcome, RunFailure

# Stages are verified on small images where the architecture takes them: enough for five halvings.
_VERIFICATION_SIZE = 64


def build_network(spec: BuildSpec, device: torch.device) -> "ModuleNetwork":
    """Build the torch network that an spec asks for.

    Raises:
        RunFailure: ``missing_weights``, or ``unsupported`` where the network can't do what the recipe asks.
    """
    recipe = spec.recipe
    torch.manual_seed(spec.seed)
    try:
        built = spec.backbone.make(spec.num_classes, spec.weights, spec.size, native_dropout(spec))
    except MissingWeights as missing:
        raise RunFailure(Outcome.MISSING_WEIGHTS, str(missing)) from missing
    model = nn.Sequential(*built) if isinstance(built, list | tuple) else built
    if not isinstance(model, nn.Module):
        raise RunFailure(Outcome.ERROR, f"The backbone's build gives {type(model).__name__}, not a torch module.")
    _materialize(model, spec.size)
    channels_last = _wants_channels_last(model, recipe.execution.channels_last)
    model.eval().to(device=device, memory_format=torch.channels_last if channels_last else torch.preserve_format)
    conventions = set_batch_norm(model, recipe.batch_norm)
    library = _library_preprocessing(model)
    library_network = LibraryNetwork.of(model, spec.num_classes, spec.size)
    preprocessing = UNIT if recipe.preprocessing == "unit" else spec.backbone.preprocessing or library or UNIT
    example = _example(model, spec.size, device, channels_last)
    pieces, why = _stages(model, spec, example)
    if draws_weights(spec):
        conventions["initialization"] = draw_initial_weights(model, example, input_scale(preprocessing), spec.seed)
    elif draws_classifier(spec, model):
        draw_classifier(model, example, spec.seed)
    if recipe.head.kind != "native":
        pieces = _with_new_head(model, pieces, spec, example)
        library_network = replace(library_network, head=pieces[-1].modules[0])
    else:
        _adopt_unused(model, pieces)
    names = {id(tensor): name for name, tensor in model.state_dict(keep_vars=True).items()}
    stages = tuple(_stage(piece, names) for piece in pieces)
    return ModuleNetwork(
        pieces=tuple(pieces),
        stages=stages,
        split_head=(*stages[:-1], *_parts_of_head(pieces[-1], stages[-1])),
        first_trainable=first_trainable(recipe.trainable_from, [piece.name for piece in pieces]),
        stages_unverified=why,
        modules=tuple(dict.fromkeys(module for piece in pieces for module in piece.modules)),
        layout="nchw",
        channels_last=channels_last,
        preprocessing=preprocessing,
        library_preprocessing=library,
        weights_loaded=weights_loaded(spec, built),
        conventions=conventions,
        biased=recipe.batch_norm.variance == "biased",
        library_network=library_network,
    )


@dataclass(kw_only=True, eq=False)
class ModuleNetwork(TorchNetwork):
    """A torch module, cut into stages.

    Args:
        pieces: its stages, with their modules.
        biased: whether running variances are biased ones.
        library_network: the module as its library knows it.
    """

    pieces: tuple[Piece, ...]
    biased: bool
    library_network: LibraryNetwork
    _correction: BiasedVariance | None = None

    def set_training(self, first_trainable: int | None) -> None:
        """Put stages from ``first_trainable`` on into training mode, all others into inference mode."""
        for number, piece in enumerate(self.pieces):
            training = first_trainable is not None and number >= first_trainable
            for module in piece.modules:
                if module.training != training:  # to set it costs, and most are frozen
                    module.training = training
        if self.biased and first_trainable is not None and self._correction is None:
            trained = [module for piece in self.pieces[first_trainable:] for module in piece.modules]
            layers = batch_norms(trained)
            self._correction = BiasedVariance(layers) if layers else None

    def frozen_in_training(self, first_trainable: int) -> list[str]:
        """Return the kinds of modules before a stage that are not in inference mode."""
        frozen = (module for piece in self.pieces[:first_trainable] for module in piece.modules)
        return [type(module).__name__ for module in frozen if module.training]

    def save(self, folder: Path, example: Tensor) -> SavedNetwork:
        """Write the weights under the module's own names."""
        with torch.no_grad():
            return self.library_network.save(folder, example, run(self.pieces, example))

    def load(self, folder: Path) -> None:
        """Fill the network from what :meth:`save` wrote."""
        self.library_network.load(folder)

    def begin_step(self, seed: int, batch_size: int) -> None:
        """Seed torch's generators, from which all torch modules draw."""
        seed_generators(seed)
        if self._correction is not None:
            self._correction.begin_step(batch_size)

    def end_step(self) -> None:
        """Turn the new running variances into biased ones, where the recipe wants those."""
        if self._correction is not None:
            self._correction.end_step()

    def first_kernel_input(self, inputs: Tensor) -> Tensor | None:
        """Return what reaches the first module that has a kernel of its own."""
        seen: list[Tensor] = []

        def watch(_module: nn.Module, arguments: tuple[Any, ...]) -> None:
            if not seen and arguments and isinstance(arguments[0], Tensor):
                seen.append(arguments[0].detach().clone())

        modules = {module for piece in self.pieces for module in piece.modules}
        kernels = [m for m in modules if any(p.ndim > 1 for p in m.parameters(recurse=False))]
        handles = [module.register_forward_pre_hook(watch) for module in kernels]
        try:
            x = inputs
            for piece in self.pieces:
                x = piece.forward(x)
                if seen:
                    return seen[0]
        finally:
            for handle in handles:
                handle.remove()
        return None


def _stage(piece: Piece, names: Mapping[int, str]) -> TorchStage:
    """Return a piece as a stage. What an adapter froze itself is none of the optimiser's: it counts as a buffer."""
    trained = {f"{piece.name}/{n}": p for n, p in piece.parameters.items() if p.requires_grad}
    fixed = {f"{piece.name}/{n}": p for n, p in piece.parameters.items() if not p.requires_grad}
    places = {
        f"{piece.name}/{names[id(buffer)]}": (module, name)
        for module in piece.modules
        for name, buffer in module.named_buffers(recurse=False)
        if id(buffer) in names
    }

    def buffers() -> dict[str, Tensor]:
        return {**fixed, **{full: getattr(module, name) for full, (module, name) in places.items()}}

    return TorchStage(piece.name, partial(_call, piece.forward), trained, buffers)


def _parts_of_head(piece: Piece, stage: TorchStage) -> tuple[TorchStage, ...]:
    """Return the head as its pooling and the rest, where it is the recipe's and pools to vectors; else as it is."""
    module = piece.modules[0] if piece.modules else None
    if not isinstance(module, nn.Sequential) or len(module) < 2:
        return (stage,)
    pooling = module[0]
    if not isinstance(pooling, Pooling) or pooling.kind == "flatten":
        return (stage,)
    first = TorchStage(f"{pooling.kind} pooling", partial(_call, pooling), {})
    return first, TorchStage(stage.name, partial(_call, module[1:]), stage.parameters, stage.buffers)


def _call(forward: Callable[[Tensor], Tensor], x: Tensor, training: bool) -> Tensor:
    """Call a stage, whose modules ``set_training`` has put into the mode."""
    return forward(x)


def _materialize(model: nn.Module, size: int) -> None:
    """Give lazy layers their shapes."""
    if any(isinstance(parameter, UninitializedParameter) for parameter in model.parameters()):
        model.eval()
        with torch.no_grad():
            model(torch.zeros(1, 3, size, size))


def _wants_channels_last(model: nn.Module, choice: str) -> bool:
    """Return whether to keep kernels in channels_last format; ``auto``: where there are convolutions.

    One convolution alone cuts a picture into patches, and gains nothing.
    """
    if choice != "auto":
        return choice == "on"
    return sum(isinstance(module, nn.Conv2d) for module in model.modules()) > 1


def _library_preprocessing(model: nn.Module) -> Preprocessing | None:
    """Return what timm says of the model's input."""
    config = getattr(model, "pretrained_cfg", None)
    if not isinstance(config, Mapping) or "mean" not in config or "std" not in config:
        return None
    mean, std = tuple(config["mean"]), tuple(config["std"])
    return Preprocessing(mean=mean, std=std) if len(mean) == len(std) == 3 else None


def _example(model: nn.Module, size: int, device: torch.device, channels_last: bool) -> Tensor:
    """Return two random images that the model takes, small ones if it does; it must give logits for them."""
    generator = torch.Generator().manual_seed(0)
    for side in sorted({min(size, _VERIFICATION_SIZE), size}):
        x = torch.randn(2, 3, side, side, generator=generator).to(device)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        try:
            with torch.no_grad():
                logits = model(x)
        except (RuntimeError, AssertionError, ValueError):
            if side == size:
                raise
            continue
        if isinstance(logits, Tensor):
            return x
        raise RunFailure(Outcome.ERROR, f"The backbone gives {type(logits).__name__}, not a tensor of logits.")
    raise AssertionError("one of the sizes is the run's own")


def _stages(model: nn.Module, spec: BuildSpec, example: Tensor) -> tuple[list[Piece], str]:
    """Return the finest stages that can be verified, else the coarsest, and why better ones could not be, or nothing.

    Stages that were traced and failed are no one's claim: the next coarser ones take their place without a word. What
    an adapter declares, or builds as the children of an ``nn.Sequential``, is a claim: why it is wrong is told.
    """
    declared_reason, traced_reason = "", ""
    declared = spec.backbone.stages
    if declared is not None:
        modules = list(declared(model))
        if modules and all(isinstance(module, nn.Module) for module in modules):
            paths = {id(module): path for path, module in model.named_modules() if path}
            named = [(paths.get(id(m), f"stage{number}"), m) for number, m in enumerate(modules, start=1)]
            pieces = from_modules(model, named)
            declared_reason = verify(model, pieces, example)
            if not declared_reason:
                return pieces, ""
        else:
            declared_reason = "`stages` gives something that is not a torch module"
    for number, pieces in enumerate(candidates(model, example)):
        wrong = verify(model, pieces, example)
        if not wrong:
            return pieces, declared_reason
        traced_reason = traced_reason or wrong
        if number == 0 and isinstance(model, nn.Sequential):
            declared_reason = declared_reason or wrong
    traced_reason = traced_reason or "its forward pass can't be traced, or has no value at which it can be cut"
    return around_classifier(model, example), declared_reason or traced_reason


def _with_new_head(model: nn.Module, pieces: list[Piece], spec: BuildSpec, example: Tensor) -> list[Piece]:
    """Return the pieces with the recipe's head in place of the last."""
    head = spec.recipe.head
    if len(pieces) < 2:
        raise RunFailure(
            Outcome.UNSUPPORTED,
            f"The head of {spec.backbone.name} can't be told from the rest: use head.kind = 'native'.",
        )
    if head.pooling == "flatten" and example.shape[-1] != spec.size:
        example = torch.zeros(2, 3, spec.size, spec.size, device=example.device)
    with torch.no_grad():
        features = run(pieces[:-1], example)
    pooling = Pooling(
        head.pooling,
        channels_first=getattr(model, "output_fmt", "NCHW") == "NCHW",
        prefix_tokens=int(getattr(model, "num_prefix_tokens", 0)),
    )
    module = new_head(head, pooling, features, spec.num_classes, spec.seed)
    return [*pieces[:-1], Piece(HEAD, module.forward, tuple(module.modules()), dict(module.named_parameters()))]


def _adopt_unused(model: nn.Module, pieces: list[Piece]) -> None:
    """Give the parameters that no stage uses to the head: the optimiser has them, as in a plain loop."""
    owned = {id(parameter) for piece in pieces for parameter in piece.parameters.values()}
    for name, parameter in model.named_parameters():
        if id(parameter) not in owned:
            pieces[-1].parameters[name] = parameter
