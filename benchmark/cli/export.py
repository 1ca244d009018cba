"""``python -m benchmark export``: a kept model for another runtime, proven there."""

from pathlib import Path

import click

from benchmark.cli.shared_options import plugin_option
from benchmark.dependencies import require_posix
from benchmark.errors import writing
from benchmark.export_targets import TARGETS


@click.command("export")
@click.argument("model", metavar="MODEL_OR_DIR")
@click.option("--to", "target", type=click.Choice(list(TARGETS)), required=True, help="Which kind of file.")
@click.option(
    "--whole",
    is_flag=True,
    help="Put all into the file: uint8 images (N, S, S, 3) in, probabilities out. Else normalised input and logits.",
)
@click.option(
    "--images",
    "source",
    metavar="SOURCE",
    help="Compare on these images.  [default: 64 test images of the model's own data]",
)
@plugin_option
def export_command(model: str, target: str, whole: bool, source: str | None, plugins: tuple[Path, ...]) -> None:
    """Write a kept model for another runtime into its folder 'exports', and prove that it computes the same.

    The file is run by its own runtime (onnxruntime, TensorFlow Lite, ...) on 64 test images beside the model. The
    largest difference of a probability and the changed decisions are printed and kept in model.json; a file that
    differs by more than 0.001 is not kept.
    """
    require_posix()
    from benchmark.models.export import export_model
    from benchmark.models.load import find_model

    folder = find_model(Path(model))
    with writing(f"'{folder}'"):
        proof = export_model(folder, target, whole=whole, source=source, plugins=plugins)
    made = proof.export
    click.echo(
        f"{proof.path}: computed by {made.runtime} on {made.images} images, probabilities differ by at most "
        f"{made.largest_difference:.2g}, {made.changed_decisions} decisions changed; one image takes "
        f"{made.latency_p50_ms:.1f} ms."
    )
