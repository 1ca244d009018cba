"""``python -m benchmark data SOURCE``: what is in a data set, how it is split, and what is wrong with it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.atomic_files import write_atomically
from benchmark.cli.data_options import data_options
from benchmark.cli.json_output import json_option, print_json
from benchmark.cli.shared_options import choice_option, path_option
from benchmark.errors import UserError, writing
from benchmark.file_names import file_name
from benchmark.text import plain, shown

if TYPE_CHECKING:
    from benchmark.data.audit.audit import Audit
    from benchmark.data.dataset import DataSet, Positions, Split


@click.command("data")
@click.argument("source", required=False)
@click.option("--list", "listed", is_flag=True, help="Show the data sets that are known by name, and their faults.")
@click.option("--audit", "audited", is_flag=True, help="Look for duplicates, leaks and shortcuts.")
@click.option("--size", type=int, default=224, show_default=True, metavar="PIXELS", help="Side of prepared images.")
@choice_option(
    "--resize", ["squash", "pad"], "squash", "How an image becomes a square: squeezed, or with black bars."
)
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Another seed takes other validation images."
)
@click.option(
    "--validation-fraction",
    type=float,
    default=0.1,
    show_default=True,
    metavar="SHARE",
    help="Share of the training images that is taken for validation.",
)
@click.option("--limit", type=int, metavar="N", help="Use N images only.")
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that can't be read.")
@path_option("--out", "DIR", "Where the audit's files go. [default: results/<data>/audit]")
@json_option
@data_options
def data_command(
    source: str | None,
    listed: bool,
    audited: bool,
    size: int,
    seed: int,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Look at a data set: classes, patients, split; with --audit also duplicates, leaks and shortcuts.

    SOURCE is 'phantom', a folder or .zip of images, a manifest (.csv, .parquet), or data that is fetched: a name of
    --list, kaggle:OWNER/NAME[/VERSION], hf:OWNER/NAME[@REVISION], or a DOI of figshare or Zenodo. The audit is
    printed and written as audit.txt, audit.json, worst.png and split.csv.
    """
    if listed:
        if as_json:
            print_json({"data_sets": known_facts()})
        else:
            click.echo(known_sets())
        return
    if source is None:
        raise UserError("Name the data: python -m benchmark data SOURCE, or --list for those that are known by name.")
    from benchmark.data.duplicates.near_duplicates import are_known
    from benchmark.data.options import open_data, take_options
    from benchmark.data.splits.splits import make_splits

    data_asked, split_asked = take_options(options, source=source, size=size, seed=seed)
    with progress_bar(f"Preparing {source}", lines=True) as progress:
        data = open_data(data_asked, progress=progress)
    if not are_known(data):
        click.echo(f"Looking for near-duplicates among {len(data)} images", err=True)
    splits = make_splits(data, split_asked)
    facts, text = data_facts(data, splits), ""
    if audited:
        folder = out or Path("results") / file_name(data.name) / "audit"
        audits, text = write_audits(data, splits, folder)
        text += f"\n\nWritten to {folder}/"
        facts |= {"audits": [audit.model_dump(mode="json") for audit in audits], "written_to": folder}
    if as_json:
        print_json(facts)
    else:
        click.echo(shown(text or summary(data, splits)))


@contextmanager
def progress_bar(text: str, *, lines: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show on stderr how far images are, by a bar on a terminal.

    Args:
        text: what is being done.
        lines: whether a line at every fifth says it where there is no terminal.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    fifths = 0

    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, total=None)

        def progress(done: int, total: int) -> None:
            nonlocal fifths
            bar.update(task, completed=done, total=total)
            if lines and not console.is_terminal and 5 * done // max(1, total) > fifths:
                fifths = 5 * done // max(1, total)
                print(plain(f"{text}: {done} of {total} images"), file=sys.stderr)

        yield progress


def known_sets() -> str:
    """Return the data sets that are known by name, with their faults, in lines."""
    lines = []
    for facts in known_facts():
        first = f"{facts['name']}: {facts['images']} images, {len(facts['classes'])} classes "
        first += f"({', '.join(facts['classes'])}), "
        if not facts["page"]:  # the phantom's
            lines += [f"{first}{facts['patients']} patients; at hand", f"  {facts['faults'][0]}"]
            continue
        at_hand = "at hand" if facts["at_hand"] else "not at hand: it is fetched when it is used"
        lines += ["", f"{first}patients {facts['patients']}; {at_hand}"]
        lines += [f"  fault: {fault}" for fault in facts["faults"]]
        lines += [f"  licence: {facts['licence']}", f"  cite: {facts['citation']}", f"  page: {facts['page']}"]
    return "\n".join(lines)


def known_facts() -> list[dict[str, Any]]:
    """Return what is known of each data set that has a name, for programs."""
    from benchmark.data.sources.phantom import PhantomSource
    from benchmark.data.sources.remote import KNOWN_SETS

    phantom = PhantomSource()
    first = {
        "name": phantom.facts.name,
        "images": len(phantom.items),
        "classes": phantom.facts.class_names,
        "patients": str(len({item.group for item in phantom.items})),
        "faults": ["simulated: no conclusion about patients can be drawn"],
        "licence": "",
        "citation": "",
        "page": "",
        "at_hand": True,
    }
    names = [name for name in first if name != "at_hand"]
    remote = [
        {**{name: getattr(each, name) for name in names}, "at_hand": each.at_hand()} for each in KNOWN_SETS.values()
    ]
    return [first, *remote]


def _counts(data: "DataSet", positions: "Positions") -> dict[str, int]:
    """Return how many images of each class are at some positions."""
    return {name: int((data.labels[positions] == number).sum()) for number, name in enumerate(data.class_names)}


def _patients(data: "DataSet") -> int | None:
    """Return how many patients there are, ``None`` where they are not known."""
    return None if data.groups is None else len(set(data.groups.tolist()))


def data_facts(data: "DataSet", splits: "tuple[Split, ...]") -> dict[str, Any]:
    """Return what a data set is, for programs: its images, classes and patients, and how many are in which part."""
    from benchmark.data.dataset import PARTS

    return {
        "name": data.name,
        "synthetic": data.synthetic,
        "images": len(data),
        "classes": data.class_names,
        "negative_class": data.negative_class,
        "patients": _patients(data),
        "masks": data.masks is not None,
        "fingerprint": data.fingerprint,
        "licence": data.licence,
        "citation": data.citation,
        "notes": [note for note in (*data.notes, data.grouping) if note],
        "left_out": data.skipped,
        "folder": data.folder,
        "splits": [
            {
                "name": split.name,
                "hash": split.hash,
                "images": {part: _counts(data, getattr(split, part)) for part in PARTS},
                "left_out": split.removed,
                "notes": split.notes,
                "leaks": split.leaks,
            }
            for split in splits
        ],
    }


def summary(data: "DataSet", splits: "tuple[Split, ...]") -> str:
    """Return what a data set is, in lines."""
    from benchmark.data.dataset import PARTS

    patients = "unknown" if data.groups is None else str(_patients(data))
    negative = f", negative class {data.negative_class}" if data.negative_class else ""
    lines = [
        f"{data.name}{' (synthetic)' if data.synthetic else ''}: {len(data)} images, {len(data.class_names)} classes"
        f"{negative}, patients: {patients}, masks: {'yes' if data.masks is not None else 'no'}",
        f"fingerprint {data.fingerprint}",
    ]
    for label, text in (("licence", data.licence), ("cite", data.citation)):
        lines += [f"{label}: {text}"] if text else []
    lines += [f"note: {note}" for note in (*data.notes, data.grouping) if note]
    lines += [f"left out: {reason}" for reason in data.skipped]
    width = max(len(name) for name in data.class_names)
    for split in splits:
        lines += ["", f"split {split.name} ({split.hash[:16]})"]
        lines.append(f"{'':{width}}  " + "  ".join(f"{part:>10}" for part in PARTS))
        counts = [_counts(data, getattr(split, part)) for part in PARTS]
        lines += [
            f"{name:{width}}  " + "  ".join(f"{of_part[name]:>10}" for of_part in counts) for name in data.class_names
        ]
        if split.removed is not None:
            lines.append(f"{split.removed} training images that are also in test were left out")
        lines += [f"note: {note}" for note in split.notes]
        lines += [f"leak: {leak}" for leak in split.leaks]
    lines += ["", f"prepared in {data.folder}"]
    return "\n".join(lines)


def write_audits(data: "DataSet", splits: "tuple[Split, ...]", folder: Path) -> tuple[list["Audit"], str]:
    """Audit each split and write the files; return the audits, and the text of all.

    Raises:
        UserError: the folder can't be written.
    """
    from benchmark.data.audit.audit import audit_data, save_audit
    from benchmark.data.audit.picture import save_worst
    from benchmark.data.audit.table import audit_text
    from benchmark.data.splits.files import save_split_table

    with writing(f"--out {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        audits = [audit_data(data, split) for split in splits]
        for split, audit in zip(splits, audits, strict=True):
            suffix = "" if len(splits) == 1 else f"-{split.name}"
            save_audit(audit, folder / f"audit{suffix}.json")
            save_worst(data, audit, folder / f"worst{suffix}.png")
        save_split_table(data, splits, folder / "split.csv")
        text = "\n\n\n".join(map(audit_text, audits))
        write_atomically(folder / "audit.txt", text + "\n")
    return audits, text
