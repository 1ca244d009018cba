"""A run and its identity: what is asked, and the hash by which it is known."""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from benchmark.hashing import hash_json
from benchmark.recipe import Recipe

# Raised by hand whenever the same identity would give other results: every key changes with it.
PROTOCOL_VERSION = 3


@dataclass(frozen=True)
class Run:
    """One backbone + one recipe + one data set + one split + one seed. All of it is the run's identity.

    Args:
        backbone: the name of the backbone.
        backbone_source: the SHA-256 of the file that declares it.
        recipe: the resolved recipe, for the backbone's family too; its name is no part of it.
        data_fingerprint: the fingerprint of the whole data set.
        images_hash: SHA-256 over the ids of the chosen images, in order.
        split_hash: SHA-256 of the split table (image id, class, patient, part) that is saved with the records.
        seed: the seed of initial weights, order of images and dropout.
        engine: ``torch`` or ``tensorflow``.
        device_kind: ``cpu`` or ``cuda``.
        precision: the resolved precision, ``float32``, ``bfloat16`` or ``float16``.
        weights: the weights that are requested: ``none``, ``imagenet:HUB ID`` or ``sha256:...``.
        init_from: key of the run whose weights this one starts from, or ``None``.
    """

    backbone: str
    backbone_source: str
    recipe: Recipe
    data_fingerprint: str
    images_hash: str
    split_hash: str
    seed: int
    engine: str
    device_kind: str
    precision: str
    weights: str
    init_from: str | None = None

    def __post_init__(self) -> None:
        if self.recipe.families:
            raise ValueError(f"the recipe of a run of {self.backbone} is not resolved: it has values per family")

    def identity(self) -> dict[str, Any]:
        """Return what :attr:`key` hashes, as JSON-ready data."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["recipe"] = self.recipe.identity()
        return {"protocol": PROTOCOL_VERSION, **values}

    @cached_property
    def key(self) -> str:
        """The run's identity: SHA-256, 64 hex digits."""
        return hash_json(self.identity())
