"""Parity: one architecture in two frameworks, with the same weights, compared number by number."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from backbones import Backbone
from benchmark.conformance.correspondence import correspond, largest_difference, to_keras, write_arrays
from benchmark.conformance.examine import engine_of
from benchmark.conformance.find import find_backbones
from benchmark.errors import UserError

Arrays = dict[str, npt.NDArray[Any]]

# What float32 on a CPU allows two libraries that add in another order.
LOGITS_TOLERANCE, CURVE_TOLERANCE = 1e-4, 1e-3


@dataclass(frozen=True)
class Certificate:
    """What a comparison found, all on a CPU in float32.

    Args:
        torch, keras: names of the two backbones.
        torch_source, keras_source: hashes of their declarations.
        size: side of the images, in pixels.
        head: of both networks, as in a recipe.
        parameters: number of scalars compared.
        logits: largest absolute difference, from the same weights.
        gradients: largest absolute difference after one step, relative to the largest gradient.
        sgd_curve: largest absolute difference of the losses over 20 steps of SGD with momentum 0.9.
        adam_curve: likewise over 20 steps of Adam, for information: where a gradient is near zero, Adam's step
            depends on its sign alone.
    """

    torch: str
    keras: str
    torch_source: str
    keras_source: str
    size: int
    head: str
    parameters: int
    logits: float
    gradients: float
    sgd_curve: float
    adam_curve: float

    @property
    def holds(self) -> bool:
        """Whether the two are the same network: logits and SGD's curve agree."""
        return self.logits <= LOGITS_TOLERANCE and self.sgd_curve <= CURVE_TOLERANCE


def _side(asked: dict[str, Any]) -> Arrays:
    """Run one side in a process of its own and return what it left."""
    command = [sys.executable, "-m", "benchmark.conformance.parity_worker", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise UserError(f"{asked['backbone']} can't be compared: {lines[-1] if lines else 'its process died'}.")
    with np.load(asked["leave"], allow_pickle=False) as left:
        return dict(left)


def _under(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def compare(torch: Backbone, keras: Backbone, plugins: Sequence[Path], *, size: int, head: str) -> Certificate:
    """Compare a torch network with a Keras one of the same architecture.

    Args:
        torch, keras: the two backbones.
        plugins: files from which the processes can load them.
        size: side of the images, in pixels.
        head: ``native``, ``linear`` or ``dense256``, for both.

    Raises:
        UserError: they are not of one architecture, or one can't be built.
    """
    with tempfile.TemporaryDirectory() as folder:
        common = {"plugins": [str(path) for path in plugins], "size": size, "head": head, "start": None}

        def side(entry: Backbone, leave: str, **changes: Any) -> Arrays:
            asked = {"backbone": entry.name, "engine": engine_of(entry, "tensorflow"), "shapes_only": False}
            return _side({**common, **asked, "leave": str(Path(folder) / leave), **changes})

        of_torch = side(torch, "torch.npz")
        weights = _under(of_torch, "weights/")
        shapes = {n: v.shape for n, v in _under(side(keras, "shapes.npz", shapes_only=True), "weights/").items()}
        try:
            pairs = correspond({name: value.shape for name, value in weights.items()}, shapes)
            write_arrays(Path(folder) / "start.npz", to_keras(weights, pairs, shapes))
        except ValueError as error:
            raise UserError(f"{torch.name} and {keras.name} can't be compared: {error}.") from None
        of_keras = side(keras, "keras.npz", start=str(Path(folder) / "start.npz"))

    slopes = to_keras(_under(of_torch, "gradient/"), pairs, shapes)
    others = _under(of_keras, "gradient/")
    largest = max(float(np.abs(slope).max()) for slope in slopes.values())
    return Certificate(
        torch=torch.name,
        keras=keras.name,
        torch_source=torch.source_hash,
        keras_source=keras.source_hash,
        size=size,
        head=head,
        parameters=sum(slope.size for slope in slopes.values()),
        logits=largest_difference([of_torch["logits"]], [of_keras["logits"]]),
        gradients=largest_difference(list(slopes.values()), [others[name] for name in slopes]) / largest,
        sgd_curve=largest_difference([of_torch["curve/sgd"]], [of_keras["curve/sgd"]]),
        adam_curve=largest_difference([of_torch["curve/adam"]], [of_keras["curve/adam"]]),
    )


def as_markdown(certificates: Sequence[Certificate]) -> str:
    """Return a table of certificates."""
    lines = [
        "| torch | Keras | head | size | parameters | logits | gradients | SGD, 20 steps | Adam, 20 steps | same |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{c.torch}` | `{c.keras}` | {c.head} | {c.size} | {c.parameters:,} | {c.logits:.1e} | "
        f"{c.gradients:.1e} | {c.sgd_curve:.1e} | {c.adam_curve:.1e} | {'yes' if c.holds else 'NO'} |"
        for c in certificates
    ]
    return "\n".join(lines)


def store(certificate: Certificate, out: Path) -> Path:
    """Write a certificate to ``out/parity/``; leaderboards of that folder show it on both rows."""
    name = f"{certificate.torch}--{certificate.keras}".replace("/", "-").replace(":", "-")
    path = out / "parity" / f"{name}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(certificate), indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UserError(f"--out {out} can't be written: {error.strerror}.") from None
    return path


@click.command(name="parity")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--size", default=64, show_default=True, type=click.IntRange(16, 1024), help="Side of the images.")
@click.option("--head", default="native", show_default=True, type=click.Choice(["native", "linear", "dense256"]))
@click.option("--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plug-in file.")
@click.option("--out", type=click.Path(path_type=Path), help="Store the certificate in this results folder.")
@click.pass_context
def parity_command(
    context: click.Context, first: str, second: str, size: int, head: str, plugins: tuple[Path, ...], out: Path | None
) -> None:
    """Compare one network in two frameworks: A and B, one of torch and one of Keras, from the same weights.

    With --head linear both get pooling and one dense layer, so that networks that differ in the head alone can be
    compared. Exit code 1 where they are not the same.
    """
    backbones, needed = find_backbones((first, second), plugins, everything=False)
    by_framework = {entry.framework: entry for entry in backbones}
    if set(by_framework) != {"torch", "keras"}:
        raise UserError(f"Parity compares a torch with a Keras backbone; {first} and {second} are not one of each.")
    certificate = compare(by_framework["torch"], by_framework["keras"], needed, size=size, head=head)
    click.echo(as_markdown([certificate]))
    if out is not None:
        click.echo(f"Stored in {store(certificate, out)}.", err=True)
    if not certificate.holds:
        context.exit(1)
