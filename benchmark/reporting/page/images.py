"""Test images as files beside the page, which a browser fetches when they come into view."""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from benchmark.atomic_files import inside, write_atomically
from benchmark.foreign_files import Refused, list_foreign
from benchmark.hashing import hash_json

IMAGES = "images"  # the folder; how its addresses begin is known to images.js
_OURS = re.compile(r"[0-9a-f]{20}\.jpg")


def write_images(thumbnails: Mapping[str, Mapping[str, bytes]], out: Path) -> dict[str, dict[str, str]]:
    """Write pictures into a folder beside the page; those of an earlier page are removed.

    A file's name is a hash, whatever an image's id is.

    Args:
        thumbnails: JPEGs by fingerprint of the data set and image id.
        out: the folder of the page.

    Returns:
        Addresses by fingerprint and image id.

    Raises:
        OSError: a file can't be written, or the folder leads out of ``out``.
    """
    addresses: dict[str, dict[str, str]] = {}
    for fingerprint, pictures in thumbnails.items():
        addresses[fingerprint] = {}
        for name in pictures:
            jpeg = pictures.get(name)
            if jpeg is not None:
                file = f"{hash_json([fingerprint, name])[:20]}.jpg"
                write_atomically(inside(out, IMAGES, file), jpeg)
                addresses[fingerprint][name] = f"{IMAGES}/{file}"
    remove_images(out, {address.partition("/")[2] for of_set in addresses.values() for address in of_set.values()})
    return addresses


def remove_images(out: Path, kept: Collection[str] = ()) -> None:
    """Remove the pictures beside an earlier page, but those of some names, and their folder where nothing else was in
    it; what is not such a picture stays.
    """
    with suppress(Refused):
        old = [name for name in list_foreign(out, IMAGES) if _OURS.fullmatch(name) and name not in kept]
        with suppress(OSError):  # there is more in the folder, or it can't be written
            for name in old:
                (out / IMAGES / name).unlink(missing_ok=True)
            if old:
                (out / IMAGES).rmdir()
