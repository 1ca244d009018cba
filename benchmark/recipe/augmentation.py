"""The section of a recipe that says how training images are varied."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from benchmark.recipe.sections import Fraction, Section

Turns = Annotated[float, Field(ge=0, le=0.5)]
Share = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Section):
    """How far training images are varied, anew in each epoch; zeros and ``false`` are off.

    Each amount is drawn evenly from its range: ``rotation`` from plus or minus that share of a full turn,
    ``translation`` along each axis from plus or minus that share of the side, ``zoom`` a factor from 1 - zoom to
    1 + zoom. ``brightness`` (plus or minus) and ``noise`` (its standard deviation, from 0) are shares of the range
    from black to white, whatever the network's preprocessing; ``contrast`` is a factor about the image's mean from
    1 - contrast to 1 + contrast; ``bias_field`` the largest logarithm of a smooth uneven gain, from 0. A flip has
    one chance in two. What moves in from outside the image is black. The formulas are in
    :mod:`benchmark.draws.augmentation`.

    ``brightness_bug`` repeats the seed notebook's mistake, whose augmenter took images of 0-1 for images of 0-255:
    brightness is 255 times what it says and values leave the image's range, which destroys every image. It is here
    so that the notebook's row can be shown as what it is, and nothing else lets values leave the range.
    """

    flip_horizontal: bool = False
    flip_vertical: bool = False
    rotation: Turns = 0.0
    translation: Share = 0.0
    zoom: Fraction = 0.0
    brightness: Share = 0.0
    contrast: Fraction = 0.0
    noise: Share = 0.0
    bias_field: Share = 0.0
    brightness_bug: bool = False

    @model_validator(mode="after")
    def _bug_of_brightness(self) -> Self:
        if self.brightness_bug and not self.brightness:
            raise ValueError("augmentation.brightness_bug is one of brightness: give augmentation.brightness too")
        return self

    @property
    def geometric(self) -> bool:
        """Whether pixels move."""
        return any((self.flip_horizontal, self.flip_vertical, self.rotation, self.translation, self.zoom))

    @property
    def active(self) -> bool:
        """Whether training images are varied at all."""
        return self.geometric or any((self.brightness, self.contrast, self.noise, self.bias_field))
