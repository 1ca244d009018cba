"""A page of the images that a model was asked about, with heat maps: one file, without a network."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.models.answers import Answers
from benchmark.models.ask import Explained
from benchmark.models.card import NOT_CLINICAL
from benchmark.text import plain

_SHOWN = 224  # side of a picture, in pixels
_TEMPLATE = "predictions.html.jinja"


@dataclass(frozen=True)
class _Shown:
    """One image on the page.

    Args:
        facts: what else is known of it, such as its patient.
        heat_of: the class that its heat map is of, where that is not the decision.
        frame: ``wrong``, ``abstained`` or nothing.
    """

    name: str
    decision: str
    label: str
    facts: tuple[str, ...]
    bars: tuple[tuple[str, float], ...]
    warning: str
    frame: str
    picture: str
    heat: str
    heat_of: str


def page(answers: Answers, explained: Explained, *, models: Sequence[str], source: str, lines: Sequence[str]) -> str:
    """Return the page as HTML.

    Args:
        answers: of the models.
        explained: the images that are shown.
        models: their names, that of the explained one first.
        source: its name, for the heading.
        lines: sentences above the images.
    """
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(Path(__file__).with_name("static")), autoescape=True)
    images = [_shown(answers, explained, place) for place in range(len(explained.numbers))]
    values: dict[str, Any] = {
        "models": [plain(model) for model in models], "source": plain(source),
        "lines": [plain(line) for line in lines], "images": images, "total": len(answers.image_ids),
        "new": not answers.trained_on[explained.numbers].any(), "labelled": bool((answers.labels >= 0).any()),
        "reason": explained.reason, "not_clinical": NOT_CLINICAL,
    }  # fmt: skip
    return environment.get_template(_TEMPLATE).render(**values)


def _shown(answers: Answers, explained: Explained, place: int) -> _Shown:
    from benchmark.reporting.figures.overlays import under_heat

    number = int(explained.numbers[place])
    picture = _sized(explained.pixels[place])
    heat = ""
    if len(explained.maps):
        grey = np.asarray(picture.mean(axis=2), dtype=np.uint8)
        heat = _png(under_heat(grey, explained.maps[place]))
    predicted, label = int(answers.predicted[number]), int(answers.labels[number])
    abstained = bool(answers.abstained[number]) or predicted < 0
    wrong = label not in (-1, predicted)
    mapped = int(explained.classes[place])
    bars: tuple[tuple[str, float], ...] = ()
    if predicted < 0:  # another model than the explained one could not read it
        decision = "no decision (not every model could read it)"
    else:
        most_probable = answers.class_names[predicted]
        decision = f"no decision (most probable: {most_probable})" if abstained else most_probable
        bars = tuple(zip(answers.class_names, answers.probabilities[number].tolist(), strict=True))
    return _Shown(
        name=plain(str(answers.image_ids[number])),
        decision=decision,
        label="" if label < 0 else answers.class_names[label],
        facts=_facts(answers, number),
        bars=tuple(sorted(bars, key=lambda bar: -bar[1])[:4]),
        warning=plain(answers.warnings[number]),
        frame="abstained" if abstained else "wrong" if wrong else "",
        picture=_png(picture),
        heat=heat,
        heat_of="" if mapped == predicted else answers.class_names[mapped],
    )


def _facts(answers: Answers, number: int) -> tuple[str, ...]:
    """Return what else is said of an image, a few words each."""
    facts = []
    tumour = answers.tumour()
    if tumour is not None and answers.negative is not None and answers.read[number] and not answers.abstained[number]:
        chance = 1 - answers.probabilities[number, answers.negative]
        facts.append(f"tumour {'yes' if tumour[number] else 'no'} ({chance:.3f})")
    for name, values in (("uncertainty", answers.uncertainty), ("disagreement", answers.disagreement)):
        if values is not None and np.isfinite(values[number]):
            facts.append(f"{name} {values[number]:.2f}")
    if np.isfinite(answers.distances[number]):
        facts.append(f"distance {answers.distances[number]:.2f}")
    patient = plain(str(answers.patients[number]))
    return (*facts, f"patient {patient}") if patient else tuple(facts)


def _sized(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((_SHOWN, _SHOWN), Image.Resampling.BICUBIC), dtype=np.uint8)


def _png(pixels: npt.NDArray[np.uint8]) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
