"""What folders mean: official parts, classes and their tidied names. Paths in, items out; nothing is read."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from benchmark.data.sources.base import Item
from benchmark.data.sources.files import ALL_SUFFIXES, is_image, suffix_of
from benchmark.errors import UserError

NEGATIVE = "notumor"
_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_PART = re.compile(rf"({'|'.join(_PARTS)})[\s_-]*(?:set|data|split|images)?", re.IGNORECASE)
_NEGATIVE_NAMES = frozenset({"notumor", "no", "normal", "healthy", "none", "negative", "nontumor", "control"})
_POSITIVE_NAMES = frozenset({"yes", "tumor", "tumour", "brain", "positive"})
_KNOWN_CLASSES = frozenset({"glioma", "meningioma", "pituitary", NEGATIVE, "tumor"})
_NO_CLASSES = frozenset({"images", "image", "masks", "mask", "labels", "annotations", "segmentations"})
_UNLABELLED = frozenset({"pred", "unlabeled", "unlabelled"})

Parts = tuple[str, ...]  # a path's folders and its file


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


@dataclass(frozen=True)
class _Rule:
    """At which depth a path says what, below the folders that all images share."""

    class_at: int
    part_at: int | None = None

    def item(self, parts: Parts) -> Item:
        part = None if self.part_at is None else part_of(parts[self.part_at])
        return Item(image_id="/".join(parts), class_name=tidy_class(parts[self.class_at]), part=part)

    def fits(self, parts: Parts) -> bool:
        """Whether a file lies in a class folder, and in a part where there are parts."""
        deep = len(parts) > max(self.class_at, self.part_at or 0) + 1
        return deep and (self.part_at is None or part_of(parts[self.part_at]) is not None)


def part_of(name: str) -> str | None:
    """Return ``train``, ``validation`` or ``test`` for a folder's name or a table's cell, ``None`` for any other.

    Example:
        >>> [part_of(name) for name in ("Training", "valid", "Test set", "glioma")]
        ['train', 'validation', 'test', None]
    """
    match = _PART.fullmatch(name.strip())
    return _PARTS[match[1].lower()] if match else None


def tidy_class(name: str) -> str:
    """Return a class name as every table prints it.

    Example:
        >>> [tidy_class(name) for name in ("glioma_tumor", "No Tumor", "Pituitary", "yes")]
        ['glioma', 'notumor', 'pituitary', 'tumor']
    """
    plain = re.sub(r"[\s_-]+", "_", unicodedata.normalize("NFC", name).strip().lower()).strip("_")
    if plain.replace("_", "").replace("tumour", "tumor") in _NEGATIVE_NAMES:
        return NEGATIVE
    short = re.sub(r"_?tumou?r$", "", plain)
    if not short or short in _POSITIVE_NAMES:
        return "tumor"
    return short


def read_layout(files: Iterable[str], empty_folders: Iterable[str], where: str) -> Layout:
    """Understand the images below a folder: ``Training``/``Testing`` with class folders, or class folders alone.

    Parts may also stand inside the classes. Of several tasks the one that has class folders is read.

    Args:
        files: the paths of all files, with forward slashes.
        empty_folders: folders that hold no image at any depth.
        where: what the user named, for messages.

    Raises:
        UserError: no image, no class folder, one class only, an empty class folder, no training images, several data
            sets, or one that stands there twice.
    """
    files = sorted(files)
    images = [path for path in files if is_image(path)]
    if not images:
        kinds = ", ".join(sorted(ALL_SUFFIXES))
        raise UserError(f"'{where}' holds no image ({kinds}): give a folder of class folders.")
    images, task_note = _one_task(images, where)
    shared = _shared_folders(images)
    split = [tuple(path.split("/")[shared:]) for path in images]
    rule = _rule(split)
    if rule.part_at is None:
        _refuse_twice(split, where)
    chosen, notes = _in_classes(split, rule)
    if not chosen:
        raise UserError(
            f"The images of '{where}' are not in class folders: "
            "put each class in a folder of its own (glioma/, notumor/, ...)."
        )
    empty = [tuple(folder.split("/")[shared:]) for folder in empty_folders]
    for parts in empty:
        if len(parts) == rule.class_at + 1 and rule.fits((*parts, "")):
            raise UserError(f"Class folder '{'/'.join(parts)}' of '{where}' holds no image: fill or remove it.")
    items = [rule.item(split[k]) for k in chosen]
    if rule.part_at is not None:
        items, part_notes = with_parts(items, where)
        notes += part_notes
    class_names = tuple(sorted({item.class_name for item in items}))
    if len(class_names) < 2:
        raise UserError(f"'{where}' has one class only ('{class_names[0]}'): at least two class folders are needed.")
    notes += _merged(split[k][rule.class_at] for k in chosen)
    notes += _no_images([tuple(path.split("/")[shared:]) for path in files if not is_image(path)], rule)
    negative = NEGATIVE if NEGATIVE in class_names else None
    return Layout(
        tuple(items), tuple(images[k] for k in chosen), class_names, negative, (*task_note, *dict.fromkeys(notes))
    )


def _rule(split: Sequence[Parts]) -> _Rule:
    if any(part_of(parts[0]) for parts in split if len(parts) > 1):
        return _Rule(class_at=1, part_at=0)
    if all(len(parts) > 2 and part_of(parts[1]) for parts in split):
        return _Rule(class_at=0, part_at=1)
    return _Rule(class_at=0)


def _one_task(images: list[str], where: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the images of the only task with class folders, where there are several tasks with parts.

    Raises:
        UserError: several folders are data sets of their own.
    """
    shared = _shared_folders(images)
    wrapper = "".join(f"{folder}/" for folder in images[0].split("/")[:shared])
    classes: dict[str, set[str]] = defaultdict(set)  # of each folder with parts or with known classes
    alone = set()
    for path in images:
        parts = path.split("/")[shared:]
        if part_of(parts[0]) or len(parts) < 3:
            alone.add(parts[0])
        elif len(parts) > 3 and part_of(parts[1]):
            classes[parts[0]].add(tidy_class(parts[2]))
        else:
            classes[parts[0]].add(tidy_class(parts[1]))
    fitting = {
        task: names - _NO_CLASSES
        for task, names in classes.items()
        if len(names - _NO_CLASSES) > 1 and task not in alone
    }
    with_classes = {task for task, names in fitting.items() if len(names & _KNOWN_CLASSES) > 1}
    if alone or not with_classes or {tidy_class(task) for task in classes} & _KNOWN_CLASSES:
        return images, ()
    if len(with_classes) > 1:
        folders = ", ".join(f"'{wrapper}{task}'" for task in sorted(with_classes))
        raise UserError(f"'{where}' holds several data sets ({folders}): give one of these folders.")
    (task,) = with_classes
    others = ", ".join(f"'{wrapper}{other}'" for other in sorted(set(classes) - with_classes))
    note = f"only '{wrapper}{task}' is read: {others} holds no class folders"
    return [path for path in images if path.startswith(f"{wrapper}{task}/")], (note,) if others else ()


def _refuse_twice(split: Sequence[Parts], where: str) -> None:
    """Raise ``UserError`` where the same classes stand at two depths: one is a copy of the other."""
    top = {tidy_class(parts[0]) for parts in split if len(parts) == 2}
    below: dict[Parts, set[str]] = defaultdict(set)
    for parts in split:
        if len(parts) > 2:
            below[parts[:-2]].add(tidy_class(parts[-2]))
    for folder, names in sorted(below.items()):
        twice = sorted(names & top)
        if len(twice) > 1:
            name = "/".join(folder)
            raise UserError(
                f"'{where}' holds the classes {', '.join(twice)} twice, in itself and in its folder '{name}': "
                f"give '{where}/{name}', or take it away."
            )


def _in_classes(split: Sequence[Parts], rule: _Rule) -> tuple[list[int], list[str]]:
    """Return the positions of images that are used, and notes on those that are not."""
    fitting = [k for k, parts in enumerate(split) if rule.fits(parts)]
    notes = []
    if len(fitting) < len(split):
        first = "/".join(next(parts for parts in split if not rule.fits(parts)))
        notes.append(f"{len(split) - len(fitting)} images outside class folders are ignored (the first: {first})")
    if rule.part_at is not None:
        return fitting, notes
    direct = {split[k][0] for k in fitting if len(split[k]) == 2}
    left_out = {name for name in direct if name.lower() in _UNLABELLED}
    left_out |= {
        *(split[k][0] for k in fitting if part_of(split[k][1]) and split[k][0] not in direct and len(split[k]) == 3)
    }
    if len(direct - left_out) < 2:
        left_out = set()
    for name in sorted(left_out):
        count = sum(split[k][0] == name for k in fitting)
        notes.append(f"{count} images of the folder '{name}' are left out: they have no class")
    return [k for k in fitting if split[k][0] not in left_out], notes


def _no_images(others: Sequence[Parts], rule: _Rule) -> list[str]:
    """Name the files in class folders that are no images: they may be some without a suffix."""
    inside = [parts for parts in others if rule.fits(parts)]
    if not inside:
        return []
    kinds = Counter(suffix_of("/".join(parts)) or "without a suffix" for parts in inside)
    counted = ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common(4))
    names = f"no images by their names ({counted}; the first: {'/'.join(inside[0])})"
    return [f"{len(inside)} files in class folders are left out, {names}"]


def _shared_folders(paths: Sequence[str]) -> int:
    """Return how many leading folders wrap everything; a part or the only class folder is never a wrapper."""
    first = paths[0].split("/")
    depth = 0
    while len(first) > depth + 2:
        name = first[depth]
        below = [path.split("/") for path in paths]
        if part_of(name) or any(len(parts) < depth + 3 or parts[depth] != name for parts in below):
            return depth
        depth += 1
    return depth


def with_parts(items: Sequence[Item], where: str) -> tuple[list[Item], list[str]]:
    """Return the items of an official split; without test images they are left for the harness to split.

    Raises:
        UserError: no training images.
    """
    counts = Counter(item.part for item in items)
    if not counts["train"]:
        raise UserError(f"'{where}' has {'test' if counts['test'] else 'validation'} images and no training images: "
                        "add a folder 'Training'.")  # fmt: skip
    if not counts["test"]:
        note = "there are training images only: the test images are cut from them"
        if counts["validation"]:
            note = "there are training and validation images and no test images: the test images are cut from both"
        return [replace(item, part=None) for item in items], [note]
    if counts["validation"]:
        return list(items), [f"{counts['validation']} validation images are the official ones"]
    return list(items), []


def _merged(folders: Iterable[str]) -> list[str]:
    spellings = defaultdict(set)
    for folder in folders:
        spellings[tidy_class(folder)].add(unicodedata.normalize("NFC", folder))
    return [
        f"folders {', '.join(sorted(names))} are one class: {tidy}"
        for tidy, names in sorted(spellings.items())
        if len({name.lower() for name in names}) > 1
    ]
