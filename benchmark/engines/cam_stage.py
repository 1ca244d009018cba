"""Which stage Grad-CAM explains: the last one whose feature map is fine enough. The same rule on every engine."""

from collections.abc import Sequence

from benchmark.errors import nearest

# Below 7 x 7 pixels a map can't point at a lesion: the lesion's own mask, averaged to the map's size and drawn large
# again, has its maximum inside the lesion in 0.11 of the phantom's slices at 4 x 4, and in 0.92 at 7 x 7.
FINEST_NEEDED = 7

Shape = tuple[int | None, ...]  # without the batch; ``None`` where it depends on the input


class NoFeatureMap(Exception):
    """A network has no stage that Grad-CAM can explain; the message says why, in one sentence."""


def channel_axis(shape: Shape, default: int) -> int:
    """Return which axis of a feature map holds its channels: 0 or 2.

    Inputs are square, so that two equal sides are space. Where all three are equal it is ``default``.
    """
    first, second, third = shape
    if first == second != third:
        return 2
    return 0 if second == third != first else default


def find_feature_stage(names: Sequence[str], shapes: Sequence[Shape], declared: str | None, default_axis: int) -> int:
    """Return the number of the stage to explain.

    It is the last before the head whose output is a feature map of at least 7 x 7 pixels; where small images leave no
    such map, the last of more than one pixel. A network whose last output with a place to it is a row of tokens has
    none: what its first convolution
    gives is no feature of the class.

    Args:
        names: of all stages; the last is the head.
        shapes: of the output of each stage but the head.
        declared: what the adapter names: a stage, or the beginning of the names of several, of which it is the last.
        default_axis: see :func:`channel_axis`.

    Raises:
        NoFeatureMap: there is none.
    """
    if declared is not None:
        return _named(names, shapes, declared, default_axis)
    if len(names) < 2:
        raise NoFeatureMap("Its forward pass can't be cut into stages, so that there is no feature map to explain.")
    last_map: int | None = None
    for number in reversed(range(len(shapes))):
        shape = shapes[number]
        if _is_map(shape, default_axis, FINEST_NEEDED):
            return number
        if _is_map(shape, default_axis):
            last_map = number if last_map is None else last_map
        elif last_map is None and len(shape) == 2 and shape[0] != 1:
            raise NoFeatureMap(
                f"It is a network of tokens: its stage '{names[number]}' gives {shape[0]} tokens of {shape[1]} "
                "values and no feature map."
            )
    if last_map is not None:
        return last_map
    raise NoFeatureMap("None of its stages gives a feature map of more than one pixel at this size.")


def _named(names: Sequence[str], shapes: Sequence[Shape], declared: str, default_axis: int) -> int:
    before_head = list(names[:-1])
    matches = [number for number, name in enumerate(before_head) if name == declared]
    matches = matches or [
        n for n, name in enumerate(before_head) if name.startswith((f"{declared}.", f"{declared}_"))
    ]
    if not matches:
        listing = ", ".join(before_head)
        raise NoFeatureMap(
            f"It has no stage '{declared}' to explain.{nearest(declared, before_head)} There are {listing}."
        )
    if not _is_map(shapes[matches[-1]], default_axis):
        raise NoFeatureMap(f"Its stage '{names[matches[-1]]}' gives no feature map of more than one pixel.")
    return matches[-1]


def _is_map(shape: Shape, default_axis: int, least: int = 2) -> bool:
    """Return whether a stage gives a feature map of at least so many pixels a side."""
    if len(shape) != 3:
        return False
    sides = shape[1:] if channel_axis(shape, default_axis) == 0 else shape[:2]
    return all(side is None or side >= least for side in sides)
