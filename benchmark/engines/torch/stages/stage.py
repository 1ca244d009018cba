"""One stage of a torch module, and the composition of several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

HEAD = "head"


@dataclass(frozen=True)
class Piece:
    """One stage of a module.

    Args:
        name: unique within the model; the last is ``head``.
        forward: maps the stage's input to its output, in the mode that its modules are in.
        modules: those whose mode decides; no module is in two pieces.
        parameters: by their names in the model.
    """

    name: str
    forward: Callable[[Tensor], Tensor]
    modules: tuple[nn.Module, ...]
    parameters: dict[str, nn.Parameter]


def run(pieces: Sequence[Piece], x: Tensor) -> Tensor:
    """Return the composition of the pieces' forward passes."""
    for piece in pieces:
        x = piece.forward(x)
    return x


def from_modules(model: nn.Module, named: Sequence[tuple[str, nn.Module]]) -> list[Piece]:
    """Return pieces for modules that follow one another, the last as ``head``.

    Parameters keep the names that they have in ``model``.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    pieces = []
    for number, (name, module) in enumerate(named):
        own = {names.get(id(value), key): value for key, value in module.named_parameters()}
        last = number == len(named) - 1
        pieces.append(Piece(HEAD if last else name, module.forward, tuple(module.modules()), own))
    return pieces
