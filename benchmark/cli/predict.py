"""``python -m benchmark predict``: what a kept model, or several together, say of images."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli.data import progress_bar
from benchmark.cli.shared_options import choice_option, device_option, path_option, plugin_option
from benchmark.dependencies import require_posix
from benchmark.errors import writing

if TYPE_CHECKING:
    from benchmark.models.answers import Answers, Judged, Unlike
    from benchmark.models.description import Model

_DIGITS = 9  # of probabilities and distances: as many as tell numbers of float32 apart, which networks compute with
_EXPLAINED = 48  # images on the page where nothing else is asked


@click.command("predict")
@click.argument("model", metavar="MODEL_OR_DIR")
@click.argument("source", metavar="SOURCE")
@path_option("--out", "DIR", "Where to write predictions.csv.  [default: predictions]")
@click.option("--explain", is_flag=True, help="Also write a page of the images with heat maps (Grad-CAM).")
@click.option(
    "--images",
    "shown",
    type=click.IntRange(min=1),
    default=_EXPLAINED,
    show_default=True,
    metavar="N",
    help="How many images the page shows.",
)
@click.option(
    "--with",
    "others",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="Another model that answers too; probabilities are averaged (repeatable).",
)
@choice_option(
    "--unlike",
    ["abstain", "warn"],
    "abstain",
    "What to do where an image is unlike the training images: give no decision, or only warn.",
)
@click.option("--unlabelled", is_flag=True, help="Take no classes from the folders or the table: nothing is scored.")
@plugin_option
@device_option
def predict_command(
    model: str,
    source: str,
    out: Path | None,
    explain: bool,
    shown: int,
    others: tuple[Path, ...],
    unlike: "Unlike",
    unlabelled: bool,
    plugins: tuple[Path, ...],
    device: str,
) -> None:
    """Ask a kept model about images; research software, not for clinical use.

    MODEL_OR_DIR is a model's folder, or a results folder, whose best row's model is asked. SOURCE is an image, a
    folder or zip file of images, a manifest, a DICOM or NIfTI file, or data as for --data. Probabilities are scaled
    by the temperature that validation images gave. Images with labels are scored, but for those that the network was
    trained on.
    """
    require_posix()
    from benchmark.execution.planning.devices import choose_devices
    from benchmark.models.answers import judge
    from benchmark.models.ask import Question, ask_models
    from benchmark.models.description import Model
    from benchmark.models.load import find_model

    folders = [find_model(path) for path in (Path(model), *others)]
    models = [Model.read(folder) for folder in folders]
    for each, folder in zip(models, folders, strict=True):
        each.check_files(folder)
    engines = {each.engine for each in models}
    devices = {name: choice.kind for name, choice in choose_devices(device, engines, click.echo).items()}
    question = Question(source, unlabelled, unlike, shown if explain else 0, plugins, devices)
    with progress_bar("Asking") as progress:
        answers, explained = ask_models(folders, question, progress)
    judged = judge(answers)
    target = out or Path("predictions")
    lines = [*described(answers), *(scored(judged, models) if judged else [])]
    written = write(answers, judged, models, target)
    if explain and explained is not None:
        from benchmark.atomic_files import write_atomically
        from benchmark.models.page import page

        names = [each.backbone.name for each in models]
        text = page(answers, explained, models=names, source=Path(source).name, lines=lines)
        written.append(write_atomically(target / "predictions.html", text))
    for line in lines:
        click.echo(line)
    click.echo(f"Written: {', '.join(map(str, written))}")


def write(answers: "Answers", judged: "Judged | None", models: "list[Model]", target: Path) -> list[Path]:
    """Write the tables into a folder; return their paths.

    Raises:
        UserError: the folder can't be written.
    """
    tables: dict[str, Mapping[str, Any] | None] = {"predictions.csv": answers.columns(), "patients.csv": None}
    patients = answers.patient_frame()
    if patients is not None:
        tables["patients.csv"] = {
            str(name): column.to_numpy() if column.dtype.kind == "f" else column.tolist()
            for name, column in patients.items()
        }
    with writing(f"--out {target}"):
        target.mkdir(parents=True, exist_ok=True)
        for name in (*tables, "predictions.html"):  # those of an earlier question would stand beside other answers
            (target / name).unlink(missing_ok=True)
        return [_write(columns, target / name) for name, columns in tables.items() if columns is not None]


def _write(columns: Mapping[str, Any], path: Path) -> Path:
    from benchmark.atomic_files import written_file
    from benchmark.csv_text import write_columns

    with written_file(path) as unfinished:
        write_columns(unfinished, list(columns.values()), list(columns), significant_digits=_DIGITS)
    return path


def described(answers: "Answers") -> list[str]:
    """Return what was answered, in sentences."""
    count, read = len(answers.image_ids), int(answers.read.sum())
    lines = [f"Images: {count}, of which {read} could be read." if read < count else f"Images: {count}."]
    decided = answers.read & ~answers.abstained
    counts = [
        f"{name} {int((decided & (answers.predicted == c)).sum())}" for c, name in enumerate(answers.class_names)
    ]
    lines.append(f"Decisions: {', '.join(counts)}.")
    tumour = answers.tumour()
    if tumour is not None:
        where = (
            "at the chosen specificity" if answers.disagreement is None else "at the mean of the models' thresholds"
        )
        lines.append(f"Tumours reported {where}: {int((tumour & decided).sum())}.")
    abstained, far = int(answers.abstained.sum()), int((answers.distances > 1).sum())
    if abstained:
        lines.append(f"No decision, as unlike the training images (see 'warning'): {abstained}.")
    elif far:
        lines.append(f"Unlike the training images (see 'warning'): {far}.")
    elif not (answers.distances >= 0).any():
        lines.append("Whether images are like the training images is not known for this network.")
    others = sum(bool(text) for text in answers.warnings) - far
    if others > 0:
        lines.append(f"Further images with a warning: {others}.")
    return lines


def scored(judged: "Judged", models: "list[Model]") -> list[str]:
    """Return scores in sentences, beside the board's."""
    lines = []
    if judged.trained_on:
        lines.append(f"Left out of the scores: {judged.trained_on} images on which a network was trained or chosen.")
    lines.append(
        f"On {judged.images} labelled images: macro-F1 {judged.all.macro_f1:.3f}, accuracy "
        f"{judged.all.accuracy:.3f}, calibration error {judged.ece:.3f}."
    )
    if judged.of_answered is not None and judged.answered < judged.images:
        lines.append(f"On the {judged.answered} that were answered: macro-F1 {judged.of_answered.macro_f1:.3f}.")
    if judged.sensitivity == judged.sensitivity or judged.specificity == judged.specificity:
        lines.append(f"Tumour or not: sensitivity {judged.sensitivity:.3f}, specificity {judged.specificity:.3f}.")
    if judged.patients is not None:
        lines.append(f"Of {judged.patients[0]} patients, slices pooled: macro-F1 {judged.patients[1]:.3f}.")
    for model in models:
        figure = model.board.scores.get("macro_f1") if model.board else None
        own = model.scores.get("macro_f1")
        if figure is not None:
            interval = "" if figure.low is None else f" ({figure.low:.3f} to {figure.high:.3f})"
            on_board = f"macro-F1 {figure.value:.3f}{interval}"
            lines.append(f"The board has for {model.backbone.name} on {model.data.name}: {on_board}.")
        elif own is not None:
            lines.append(f"On its own test images {model.backbone.name} had macro-F1 {own:.3f}.")
    return lines
