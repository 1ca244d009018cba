"""A results folder, made fit to be given away: a static site, with the records that it is made from."""

import json
from dataclasses import dataclass
from pathlib import Path

from benchmark.atomic_files import inside, write_atomically
from benchmark.errors import UserError
from benchmark.file_names import file_name
from benchmark.models.card import NOT_CLINICAL, card
from benchmark.models.description import CARD, Model
from benchmark.models.keep import FOLDER as MODELS
from benchmark.models.keep import kept_models
from benchmark.publishing.model import anonymous_model, copy_model
from benchmark.publishing.pseudonyms import Pseudonyms
from benchmark.records.store import RecordStore
from benchmark.reporting.board.load_records import gather
from benchmark.reporting.breakdown.image_facts import read_image_facts, save_image_facts
from benchmark.reporting.figures.montage import copy_montages
from benchmark.reporting.figures.thumbnails import Thumbnails, pack_thumbnails
from benchmark.reporting.leaderboard import PageFile, WrittenBoard, write_leaderboard
from benchmark.text import plain


@dataclass(frozen=True)
class Contents:
    """What of a results folder is published.

    Args:
        images: small copies of the test images, their heat maps and the outlines of lesions.
        models: the kept models themselves, not their cards alone.
    """

    images: bool = True
    models: bool = False


def write_board(out: Path, folder: Path, contents: Contents) -> WrittenBoard:
    """Write what is published of a results folder into an empty one.

    Args:
        out: the results folder.
        folder: where it is written.
        contents: what of it.

    Raises:
        UserError: there is no record.
    """
    pseudonyms = Pseudonyms()
    fingerprints = _write_records(out, folder, contents, pseudonyms)
    for fingerprint in fingerprints:
        if facts := read_image_facts([out], fingerprint):
            save_image_facts({pseudonyms.image(name): values for name, values in facts.items()}, folder, fingerprint)
    if contents.images:
        copy_montages(out, folder)
        for fingerprint in fingerprints:
            _write_images(out, folder, fingerprint, pseudonyms)
    names = _write_models(out, folder, contents)
    # README.txt tells of a results folder, which this is not
    written = write_leaderboard(folder, page_file=PageFile("index.html", images="beside", guide=CARD))
    write_atomically(folder / CARD, board_card(written, out.resolve().name, contents, names))
    return written


def _write_records(out: Path, folder: Path, contents: Contents, pseudonyms: Pseudonyms) -> list[str]:
    """Write all records that can be used; return the fingerprints of their data sets."""
    stored = gather([out])
    store = RecordStore(folder)
    for record, predictions in stored:
        cams = stored.cams.get(record.key) if contents.images else None
        store.write(
            pseudonyms.record(record, predictions, cams=cams is not None),
            None if predictions is None else pseudonyms.predictions(predictions),
            None if cams is None else pseudonyms.cams(cams),
        )
    return sorted({record.data.fingerprint for record, _ in stored})


def _write_images(out: Path, folder: Path, fingerprint: str, pseudonyms: Pseudonyms) -> None:
    """Write small copies of the test images."""
    kept = Thumbnails([out], fingerprint)
    named = {pseudonyms.image(name): jpeg for name in kept if (jpeg := kept.get(name)) is not None}
    if named:
        pack_thumbnails(named, folder, fingerprint)


def _write_models(out: Path, folder: Path, contents: Contents) -> list[str]:
    """Write the cards of the kept models, or the models; return their folders' names."""
    names = []
    for kept in kept_models(out):
        try:
            model = Model.read(kept)
        except UserError:  # damaged, or another version's
            continue
        names.append(kept.name)
        if contents.models:
            copy_model(kept, inside(folder, MODELS, kept.name))
        else:
            write_atomically(inside(folder, MODELS, kept.name, CARD), card(anonymous_model(model)))
    return names


def board_card(written: WrittenBoard, name: str, contents: Contents, models: list[str]) -> str:
    """Return ``README.md``: a data set's card in Hugging Face's form."""
    board = written.board
    sets = sorted({result.record.data.name for result in board.results})
    synthetic = all(result.record.data.synthetic for result in board.results)
    header = {
        "license": "other",
        "pretty_name": f"TumorBoard: {name}",
        "task_categories": ["image-classification"],
        "tags": ["benchmark", "leaderboard", "mri", "brain-tumor", "tumorboard", *["synthetic"] * synthetic],
        "configs": [
            {"config_name": table, "data_files": f"{table}.csv", "default": table == "leaderboard"}
            for table in ("leaderboard", "runs", "comparisons")
        ],
    }
    lines = ["---", *(f"{key}: {json.dumps(value, ensure_ascii=True)}" for key, value in header.items()), "---", ""]
    lines += [f"# TumorBoard: {plain(name)}", "", f"**{NOT_CLINICAL}**", ""]
    lines += [f"{len(board.rows)} rows, {len(board.results)} runs, on {', '.join(map(plain, sets))}.", ""]
    lines += [f"- {plain(answer)}" for answer in written.answers]
    lines += [
        "",
        "Open `index.html` in a browser: the board, with all its tables and figures. `leaderboard.csv` has a line "
        "for each row, `columns.csv` what each column means, `report.md` a checklist (CLAIM), filled in as far as "
        "records tell.",
        "",
        "## Made again",
        "",
        "`records/` holds a probability for each image and class, with SHA-256 sums that are verified:",
        "",
        "```sh",
        f"python -m benchmark leaderboard {file_name(name)} --out board",
        "```",
        "",
        "## What is in it of patients",
        "",
        "- Ids of images and patients are pseudonyms, by a keyed hash whose key was thrown away. Which slices are of "
        "one patient can be told, and their true classes; who that is can't, from this folder.",
        "- " + ("Small copies of the test images (80 pixels), heat maps and outlines of lesions."
                if contents.images else "No image, no heat map, no outline of a lesion."),
        "- No split, no training image's id, no folder, host or command of the machine that did the runs.",
        "- The licences of the images hold for what was made from them.",
    ]  # fmt: skip
    if models:
        what = "The kept models" if contents.models else "Cards of the kept models, without their weights"
        lines += ["", "## Models", "", f"{what}:", "", *(f"- [{each}]({MODELS}/{each}/{CARD})" for each in models)]
    return "\n".join(lines) + "\n"
