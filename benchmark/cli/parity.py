"""The command ``parity``: one network in two frameworks, compared number by number."""

from pathlib import Path

import click

from benchmark.cli.shared_options import plugin_option
from benchmark.conformance.parity import compare
from benchmark.conformance.selection import find_backbones
from benchmark.errors import UserError
from benchmark.evaluation.parity_certificates import FOLDER, as_markdown, store


@click.command(name="parity")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--size", default=64, show_default=True, type=click.IntRange(16, 1024), help="Side of the images.")
@click.option("--head", default="native", show_default=True, type=click.Choice(["native", "linear", "dense256"]))
@plugin_option
@click.option(
    "--out",
    default="results",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Store the certificate in this results folder, or the one above several.",
)
@click.pass_context
def parity_command(
    context: click.Context, first: str, second: str, size: int, head: str, plugins: tuple[Path, ...], out: Path
) -> None:
    """Compare one network in two frameworks: A and B, one of torch and one of Keras, from the same weights.

    Both get the torch network's weights, perturbed, and the same images in the same order, on a CPU in float32. With
    --head linear both get pooling and one dense layer, so that networks that differ in the head alone can be
    compared. The certificate is stored, and leaderboards show it on the rows of both. Exit code 1 where they are not
    the same.
    """
    backbones, needed = find_backbones((first, second), plugins, everything=False)
    by_framework = {entry.framework: entry for entry in backbones}
    if len(backbones) != 2 or set(by_framework) != {"torch", "keras"}:
        raise UserError(f"Parity compares a torch with a Keras backbone; {first} and {second} are not one of each.")
    certificate = compare(by_framework["torch"], by_framework["keras"], needed, size=size, head=head)
    click.echo(as_markdown([certificate]))
    click.echo(f"\n{certificate.verdict()}")
    click.echo(f"Stored in {store(certificate, out / FOLDER)}.", err=True)
    if not certificate.holds:
        context.exit(1)
