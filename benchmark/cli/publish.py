"""``python -m benchmark publish``: a board or a kept model, made fit to be given away."""

from pathlib import Path

import click

from benchmark.errors import UserError


@click.command("publish")
@click.argument("source", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--to", "target", required=True, metavar="FOLDER|hf:OWNER/NAME", help="A folder, or a repository of Hugging Face."
)
@click.option("--without-images", is_flag=True, help="Leave out images, heat maps and outlines of lesions.")
@click.option("--with-models", is_flag=True, help="Publish the kept models too; else their cards alone.")
@click.option("--private", is_flag=True, help="Make a new repository of Hugging Face a private one.")
def publish_command(source: Path, target: str, without_images: bool, with_models: bool, private: bool) -> None:
    """Publish a results folder, or the folder of a kept model.

    A results folder becomes a static site: index.html with its images beside it, tables, figures, records, and the
    cards of the kept models; leaderboard makes the board again from it. A model becomes a folder that its library
    reads.

    Ids of images and patients are replaced by pseudonyms that nobody can undo. Nothing of training images is
    published, and no split, folder, host or command. Small copies of the test images are, unless --without-images is
    given: ask first whether you may give them away.
    """
    from benchmark.publishing.board import Contents
    from benchmark.publishing.hub import SCHEME, publish_to_hub
    from benchmark.publishing.publication import is_model, publish_to_folder

    if not source.is_dir():
        raise UserError(f"There is no folder '{source}': give a results folder, or the folder of a kept model.")
    if is_model(source) and (without_images or with_models):
        raise UserError(f"'{source}' is one model: leave --without-images and --with-models away.")
    contents = Contents(images=not without_images, models=with_models)
    if target.startswith(SCHEME):
        place = publish_to_hub(source, target.removeprefix(SCHEME), contents, private=private)
    elif private:
        raise UserError("--private is for --to hf:OWNER/NAME; who reads a folder is said by its permissions.")
    else:
        place = str(publish_to_folder(source, Path(target), contents))
    click.echo(f"Published: {place}")
