"""The images that a model is asked about: a file, a folder, a zip file, a manifest, DICOM or NIfTI, or data by name.

They are read by the sources that training reads them with, one after another and not kept. Where they come with a
class they can be scored; a folder whose subfolders are no classes of the model is read without.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.data.sources import is_plain_tree, kind_of, open_source
from benchmark.data.sources.base import Item, Source
from benchmark.data.sources.dicom_headers import with_headers
from benchmark.data.sources.files import decode_file, is_image, suffix_of
from benchmark.data.sources.layout import tidy_class
from benchmark.data.sources.manifest_table import MANIFESTS, Cells, read_table
from benchmark.data.sources.medical import MEDICAL_SUFFIXES, Volumes, require_libraries
from benchmark.data.sources.tree import FileTree, inside, read_bytes
from benchmark.errors import UserError

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class AskedImage:
    """One image that a model is asked about.

    Args:
        image_id: its path within the source, ``#12`` behind it for a slice.
        load: returns its native pixels, uint8 of shape (H, W) or (H, W, 3); raises ``UserError``.
        class_name: what it is said to show; ``None`` where nothing is said.
        patient: ``None`` where unknown.
    """

    image_id: str
    load: Callable[[], Pixels]
    class_name: str | None = None
    patient: str | None = None


def open_images(spec: str, class_names: Sequence[str], *, unlabelled: bool = False) -> list[AskedImage]:
    """Return the images of a source.

    Args:
        spec: as for ``--data``, or an image file, or images in folders of any names.
        class_names: of the model.
        unlabelled: take no classes from the source, whatever its folders are named.

    Raises:
        UserError: there is no image, or the source's classes are others than the model's.
    """
    path = Path(spec).expanduser()
    if path.is_file() and is_image(path.name):
        return _of_file(path)
    kind = kind_of(spec)
    if kind == "tree":
        tree = FileTree(path)
        if is_plain_tree(tree):
            return _of_tree(tree, class_names, unlabelled=unlabelled)
    elif kind == "manifest":
        lines = read_table(read_bytes(path), str(path), required=("path",))
        if unlabelled or not all(cells.get("label") for cells in lines):
            return _of_table(path.resolve(), lines)
    elif kind == "other":
        kinds = ", ".join((".zip", *MANIFESTS))
        raise UserError(f"'{spec}' is no image and no folder, {kinds} of images.")
    return _of_source(open_source(spec), spec, class_names, unlabelled=unlabelled)


def _of_table(table: Path, lines: Sequence[Cells]) -> list[AskedImage]:
    """Return the images of a manifest without labels: paths are relative to its folder, and stay in it."""
    volumes, images = Volumes(), []
    for number, cells in enumerate(lines, start=1):
        name, slice_number = cells["path"].replace("\\", "/"), cells.get("slice", "")
        file = inside(table.parent, name)
        if file is None or not file.is_file() or not is_image(name):
            raise UserError(f"'{table}' names '{name[:200]}' in row {number}, which is no image in its folder.")
        if slice_number and not slice_number.isdecimal():
            raise UserError(f"'{table}' has the slice '{slice_number[:20]}' in row {number}: give a number from 0.")
        frame = int(slice_number) if slice_number else None
        image_id = name if frame is None else f"{name}#{frame}"
        images.append(AskedImage(image_id, _frame(file, volumes, frame), None, cells.get("group") or None))
    require_libraries(image.image_id.partition("#")[0] for image in images)
    return images


def _frame(file: Path, volumes: Volumes, frame: int | None) -> Callable[[], Pixels]:
    if suffix_of(file.name) in MEDICAL_SUFFIXES:
        return lambda: volumes.at(str(file), str(file), lambda: read_bytes(file)).image(frame)
    return lambda: decode_file(read_bytes(file), str(file), frame)


def _of_source(source: Source, spec: str, class_names: Sequence[str], *, unlabelled: bool) -> list[AskedImage]:
    """Return the images of labelled data."""
    if not unlabelled:
        _require_known(source.facts.class_names, spec, class_names)

    def loader(number: int) -> Callable[[], Pixels]:
        return lambda: source.load(number).pixels

    return [
        AskedImage(item.image_id, loader(number), None if unlabelled else item.class_name, item.group)
        for number, item in enumerate(source.items)
    ]


def _require_known(classes: Sequence[str], spec: str, class_names: Sequence[str]) -> None:
    others = sorted(set(classes) - set(class_names))
    if others:
        raise UserError(
            f"'{spec}' has the classes {', '.join(sorted(classes))}, and the model knows {', '.join(class_names)}: "
            f"it can't be scored on '{others[0]}'. Give --unlabelled to ask about the images without their classes."
        )


def _of_file(path: Path) -> list[AskedImage]:
    if suffix_of(path.name) in MEDICAL_SUFFIXES:
        require_libraries([path.name])
        return _slices(path.name, str(path), lambda: read_bytes(path), Volumes(), None, None)
    return [AskedImage(path.name, lambda: decode_file(read_bytes(path), str(path)))]


def _of_tree(tree: FileTree, class_names: Sequence[str], *, unlabelled: bool) -> list[AskedImage]:
    """Return the images of a folder or zip file, with the classes of their folders where these are the model's."""
    files = [file for file in tree.files if is_image(file)]
    if not files:
        raise UserError(f"'{tree.root}' holds no image that can be read.")
    require_libraries(files)
    classes: list[str | None] = [None] * len(files)
    if not unlabelled:
        classes = [_class_of(file, class_names) for file in files]
        if any(name is not None for name in classes) and None in classes:
            # some folders are classes of the model and others are not: the user must say what is meant
            _require_known({_parent(file) for file in files}, str(tree.root), class_names)  # type: ignore[arg-type]
    items = [Item(file, classes[k] or "") for k, file in enumerate(files)]
    items = list(with_headers(items, files, tree.read)[0])
    volumes = Volumes()
    images: list[AskedImage] = []
    for item, file, class_name in zip(items, files, classes, strict=True):
        shown = tree.shown(file)
        if suffix_of(file) in MEDICAL_SUFFIXES:
            images += _slices(file, shown, _reader(tree, file), volumes, class_name, item.group)
        else:
            images.append(AskedImage(file, _decoder(tree, file, shown), class_name, item.group))
    return images


def _class_of(file: str, class_names: Sequence[str]) -> str | None:
    """Return the class of the model after which one of a file's folders is named, the innermost."""
    names = [tidy_class(part) for part in reversed(file.split("/")[:-1])]
    return next((name for name in names if name in class_names), None)


def _parent(file: str) -> str:
    return tidy_class(file.split("/")[-2]) if "/" in file else "(no folder)"


def _reader(tree: FileTree, file: str) -> Callable[[], bytes]:
    return lambda: tree.read(file)


def _decoder(tree: FileTree, file: str, shown: str) -> Callable[[], Pixels]:
    return lambda: decode_file(tree.read(file), shown)


def _slices(
    file: str,
    shown: str,
    read: Callable[[], bytes],
    volumes: Volumes,
    class_name: str | None,
    patient: str | None,
) -> list[AskedImage]:
    """Return every slice of a DICOM or NIfTI file; those of one volume are of one patient."""
    try:
        count = len(volumes.at(file, shown, read).slices)
    except UserError as error:
        return [AskedImage(file, _raiser(str(error)), class_name, patient)]

    def loader(number: int) -> Callable[[], Pixels]:
        return lambda: volumes.at(file, shown, read).image(number)

    if count == 1:
        return [AskedImage(file, loader(0), class_name, patient)]
    return [AskedImage(f"{file}#{number}", loader(number), class_name, patient or file) for number in range(count)]


def _raiser(reason: str) -> Callable[[], Pixels]:
    def load() -> Pixels:
        raise UserError(reason)

    return load
