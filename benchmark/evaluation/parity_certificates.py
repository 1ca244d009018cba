"""Certificates: what comparisons of one network in two frameworks found, as files that leaderboards show.

Those of the built-in pairs are shipped; a user's own lie in ``parity/`` of a results folder or of the folder that
holds it. A certificate speaks of two declarations by the hashes of their files: after a change of either it is
stale, and is shown no more until the comparison is made again.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.atomic_files import write_atomically
from benchmark.errors import writing
from benchmark.foreign_files import Refused, list_foreign, read_foreign
from benchmark.text import plain

# What float32 on a CPU allows two libraries that add in another order.
LOGITS_TOLERANCE, CURVE_TOLERANCE = 1e-4, 1e-3
FOLDER = "parity"
_LONGEST = 20_000  # bytes; a certificate has about one thousand
_SHOWN = 80  # characters of a file's name in a message

_Name = Annotated[str, Field(max_length=300)]
_Difference = Annotated[float, Field(ge=0)]


class Certificate(BaseModel):
    """What a comparison found, all on a CPU in float32, from the same weights, images and order.

    Args:
        torch, keras: names of the two backbones.
        torch_source, keras_source: hashes of their declarations.
        size: side of the images, in pixels.
        head: of both networks, as in a recipe.
        parameters: number of scalars compared.
        logits: largest absolute difference, relative to the largest logit where that is below 1: an untrained
            network's logits may all be near zero, where an absolute limit says little.
        gradients: largest absolute difference after one step, relative to the largest gradient.
        rate: learning rate of SGD, such that a plain first step lowers the loss by about 0.002.
        fall: by how much the torch network's loss falls from the first of SGD's steps to the last.
        sgd_curve: largest absolute difference of the losses over 20 steps of SGD with momentum 0.9.
        adam_curve: likewise over 20 steps of Adam, for information: where a gradient is near zero, Adam's step
            depends on its sign alone.
        versions: of the libraries, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    torch: _Name
    keras: _Name
    torch_source: _Name
    keras_source: _Name
    size: int
    head: _Name
    parameters: int
    logits: _Difference
    gradients: _Difference
    rate: float
    fall: float
    sgd_curve: _Difference
    adam_curve: _Difference
    versions: dict[_Name, _Name]

    @property
    def holds(self) -> bool:
        """Whether the two are the same network: logits and SGD's curve agree."""
        return self.logits <= LOGITS_TOLERANCE and self.sgd_curve <= CURVE_TOLERANCE

    @property
    def sources(self) -> dict[str, str]:
        """Hashes of the declarations, by name of the backbone."""
        return {self.torch: self.torch_source, self.keras: self.keras_source}

    def verdict(self) -> str:
        """Return in one sentence whether the two are the same network, and if not, where to look."""
        if self.holds:
            return f"{self.torch} and {self.keras} are the same network."
        if not self.logits <= LOGITS_TOLERANCE:
            return (
                f"{self.torch} and {self.keras} are not the same network: from the same weights their logits differ "
                f"by {self.logits:.1e} (allowed: {LOGITS_TOLERANCE:g}). Look for another padding, stride, activation "
                "or epsilon of a normalisation, or a step that only one of them has."
            )
        return (
            f"{self.torch} and {self.keras} predict alike and train differently: their losses differ by "
            f"{self.sgd_curve:.1e} within 20 steps (allowed: {CURVE_TOLERANCE:g}). Look for dropout, for a "
            "normalisation with another epsilon, and for weights that only one of them trains."
        )

    def sentence(self, name: str) -> str:
        """Return what it says of the row of a backbone, its partner named."""
        other = self.keras if name == self.torch else self.torch
        same = "is the same network as" if self.holds else "is NOT the same network as"
        head = "" if self.head == "native" else f", head {self.head}"
        return (
            f"{name} {same} {other} ({self.size} px{head}, float32 on a CPU): logits differ by up to "
            f"{self.logits:.1e}, gradients by {self.gradients:.1e} of the largest, losses over 20 steps by "
            f"{self.sgd_curve:.1e} (SGD, while they fall by {self.fall:.2g}) and {self.adam_curve:.1e} (Adam)."
        )


def as_markdown(certificates: Sequence[Certificate]) -> str:
    """Return a table of certificates."""
    lines = [
        "| torch | Keras | head | size | parameters | logits | gradients | SGD, 20 steps | Adam, 20 steps | same |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{c.torch}` | `{c.keras}` | {c.head} | {c.size} | {c.parameters:,} | {c.logits:.1e} | "
        f"{c.gradients:.1e} | {c.sgd_curve:.1e} | {c.adam_curve:.1e} | {'yes' if c.holds else 'NO'} |"
        for c in certificates
    ]
    return "\n".join(lines)


def store(certificate: Certificate, folder: Path) -> Path:
    """Write a certificate into a folder, in the place of an earlier one of the same two; return its path.

    Raises:
        UserError: the folder can't be written.
    """
    name = f"{certificate.torch}--{certificate.keras}".replace("/", "-").replace(":", "-")
    path = folder / f"{name}.json"
    with writing(f"--out {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, certificate.model_dump_json(indent=1) + "\n")
    return path


def shipped() -> list[Certificate]:
    """Return the certificates of the built-in pairs."""
    folder = files("benchmark.evaluation") / "certificates"
    shipped_files = sorted((file for file in folder.iterdir() if _is_one(file.name)), key=lambda file: file.name)
    return [Certificate.model_validate_json(file.read_bytes()) for file in shipped_files]


def of_results(folders: Iterable[Path]) -> tuple[list[Certificate], list[str]]:
    """Return the certificates beside the records of results folders, and a sentence for each that can't be read."""
    places = [place for folder in folders for place in (folder.resolve(), folder.resolve().parent)]
    certificates: list[Certificate] = []
    problems: list[str] = []
    for place in dict.fromkeys(places):
        try:
            names = [name for name in list_foreign(place, FOLDER) if _is_one(name)]
        except Refused as refused:
            problems.append(f"{FOLDER} is not used: {refused}.")
            continue
        for name in names:
            read = _read(place, name)
            if isinstance(read, Certificate):
                certificates.append(read)
            else:
                sentence = f"The certificate {name[:_SHOWN]} is not used: {read}; make it again with parity."
                problems.append(plain(sentence))
    return certificates, problems


def speaking_of(
    certificates: Iterable[Certificate], name: str, sources: Mapping[str, Collection[str]]
) -> list[Certificate]:
    """Return those that speak of a backbone and are not stale, the first of each pair.

    Args:
        name: of the backbone.
        sources: by backbone, the hashes of the declarations that count; where there are none, any does.
    """
    kept: dict[tuple[str, str], Certificate] = {}
    for certificate in certificates:
        fresh = all(source in (sources.get(other) or (source,)) for other, source in certificate.sources.items())
        if name in certificate.sources and fresh:
            kept.setdefault((certificate.torch, certificate.keras), certificate)
    return list(kept.values())


def _is_one(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")


def _read(place: Path, name: str) -> Certificate | str:
    """Return a certificate of a results folder, or why a file there holds none."""
    try:
        return Certificate.model_validate(json.loads(read_foreign(place, FOLDER, name, limit=_LONGEST)))
    except (Refused, OSError) as error:
        return str(error)
    except (ValueError, ValidationError, RecursionError):
        return "it is not what parity writes"
