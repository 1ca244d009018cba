"""What folders mean: official parts, classes and their tidied names. Paths in, items out; nothing is read."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmark.data.sources.base import Item
from benchmark.data.sources.files import ALL_SUFFIXES
from benchmark.errors import UserError

PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
NEGATIVE = "notumor"
_NEGATIVE_NAMES = frozenset({"notumor", "no", "normal", "healthy", "none", "negative", "nontumor", "control"})
_POSITIVE_NAMES = frozenset({"yes", "tumor", "tumour", "brain", "positive"})


@dataclass(frozen=True)
class Layout:
    """Images of a folder or an archive, with what their folders say.

    Args:
        items: sorted by id; ids are the paths below the folders that all images share.
        paths: of each item, as the source stores it.
        class_names: sorted.
        negative_class: ``notumor`` where there is one.
        notes: what was left out or merged.
    """

    items: tuple[Item, ...]
    paths: tuple[str, ...]
    class_names: tuple[str, ...]
    negative_class: str | None
    notes: tuple[str, ...]


def tidy_class(name: str) -> str:
    """Return a class name as every table prints it.

    Example:
        >>> [tidy_class(name) for name in ("glioma_tumor", "No Tumor", "Pituitary", "yes")]
        ['glioma', 'notumor', 'pituitary', 'tumor']
    """
    plain = re.sub(r"[\s_-]+", "_", name.strip().lower()).strip("_")
    if plain.replace("_", "").replace("tumour", "tumor") in _NEGATIVE_NAMES:
        return NEGATIVE
    short = re.sub(r"_?tumou?r$", "", plain)
    if not short or short in _POSITIVE_NAMES:
        return "tumor"
    return short


def read_layout(paths: Iterable[str], empty_folders: Iterable[str], where: str) -> Layout:
    """Understand the images below a folder: ``Training``/``Testing`` with class folders, or class folders alone.

    Args:
        paths: of all image files, with forward slashes.
        empty_folders: folders that hold no image at any depth.
        where: what the user named, for messages.

    Raises:
        UserError: no image, no class folder, one class only, an empty class folder, no training images.
    """
    ordered = sorted(paths)
    if not ordered:
        kinds = ", ".join(sorted(ALL_SUFFIXES))
        raise UserError(f"'{where}' holds no image ({kinds}): give a folder of class folders.")
    shared = _shared_folders(ordered)
    split = [tuple(path.split("/")[shared:]) for path in ordered]
    empty = [tuple(folder.split("/")[shared:]) for folder in empty_folders]
    official = any(parts[0].lower() in PARTS for parts in split)
    notes: list[str] = []
    depth = 1 if official else 0
    chosen = [k for k, parts in enumerate(split) if len(parts) > depth + 1 and _belongs(parts, official)]
    if len(chosen) < len(split):
        stray = "/".join(next(split[k] for k in range(len(split)) if k not in set(chosen)))
        notes.append(f"{len(split) - len(chosen)} images outside class folders are ignored (the first: {stray})")
    if not chosen:
        raise UserError(
            f"The images of '{where}' are not in class folders: "
            "put each class in a folder of its own (glioma/, notumor/, ...)."
        )
    for parts in empty:
        if len(parts) == depth + 1 and _belongs(parts, official):
            raise UserError(f"Class folder '{'/'.join(parts)}' of '{where}' holds no image: fill or remove it.")
    items = [_item(split[k], official) for k in chosen]
    if official:
        items, note = _with_parts(items, where)
        notes += note
    class_names = tuple(sorted({item.class_name for item in items}))
    if len(class_names) < 2:
        raise UserError(f"'{where}' has one class only ('{class_names[0]}'): at least two class folders are needed.")
    notes += _merged(split[k][depth] for k in chosen)
    negative = NEGATIVE if NEGATIVE in class_names else None
    return Layout(tuple(items), tuple(ordered[k] for k in chosen), class_names, negative, tuple(notes))


def _belongs(parts: Sequence[str], official: bool) -> bool:
    return not official or parts[0].lower() in PARTS


def _shared_folders(paths: Sequence[str]) -> int:
    """Return how many leading folders wrap everything; a part or the only class folder is never a wrapper."""
    first = paths[0].split("/")
    depth = 0
    while len(first) > depth + 2:
        name = first[depth]
        below = [path.split("/") for path in paths]
        if name.lower() in PARTS or any(len(parts) < depth + 3 or parts[depth] != name for parts in below):
            return depth
        depth += 1
    return depth


def _item(parts: Sequence[str], official: bool) -> Item:
    part, class_folder = (PARTS[parts[0].lower()], parts[1]) if official else (None, parts[0])
    return Item(image_id="/".join(parts), class_name=tidy_class(class_folder), part=part)


def _with_parts(items: list[Item], where: str) -> tuple[list[Item], list[str]]:
    """Return the items of an official split; without test images they are left for the harness to split."""
    present = {item.part for item in items}
    if "train" not in present:
        raise UserError(f"'{where}' has test images and no training images: add a folder 'Training'.")
    if "test" not in present:
        plain = [Item(image_id=item.image_id, class_name=item.class_name) for item in items]
        return plain, ["there are training images only: the test images are cut from them"]
    return items, []


def _merged(folders: Iterable[str]) -> list[str]:
    spellings = defaultdict(set)
    for folder in folders:
        spellings[tidy_class(folder)].add(folder)
    return [
        f"folders {', '.join(sorted(names))} are one class: {tidy}"
        for tidy, names in sorted(spellings.items())
        if len({name.lower() for name in names}) > 1
    ]
