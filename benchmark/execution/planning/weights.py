"""The weights policy: what the user asked for, and what it means for one backbone on this machine."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from backbones import Backbone
from backbones._weight_files import problem_with_file
from benchmark.errors import UserError
from benchmark.hashing import hash_file
from benchmark.records.record import WeightsFacts

POLICIES = ("imagenet", "local", "none")


class Weights(BaseModel):
    """From which weights a run starts.

    Args:
        policy: what the user asked for: ``imagenet``, ``local``, ``none`` or a path.
        requested: what enters the run's identity: ``none``, ``imagenet:HUB ID`` or ``sha256:...``.
        used: the kind of weights that the policy means for this backbone.
        path: the file of the weights where it is on this machine, else ``None``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: str
    requested: str
    used: Literal["imagenet", "file", "none"]
    path: Path | None = None

    @property
    def source(self) -> Path | str | None:
        """What the engine is asked for: a path, ``"imagenet"`` (fetched by the library) or ``None``."""
        return self.path or ("imagenet" if self.used == "imagenet" else None)

    def facts(self, **facts: Any) -> WeightsFacts:
        """Return what a record says of them; ``facts`` are fields that came to be known, or to be others."""
        asked = {"policy": self.policy, "requested": self.requested, "used": self.used}
        return WeightsFacts.model_validate({**asked, **facts})


def check_policy(policy: str) -> str:
    """Return a policy in full (a path made absolute); raises ``UserError`` where it is neither word nor file,
    or a file that can't be weights.
    """
    if policy in POLICIES:
        return policy
    try:
        path = Path(policy).expanduser()
        there = path.is_file()
    except (OSError, RuntimeError, ValueError):  # too long a name, or a home that there is not
        there = False
    if not there:
        raise UserError(f"--weights {policy}: give imagenet, local, none or the path of a file; no such file.")
    wrong = problem_with_file(path)
    if wrong:
        raise UserError(f"--weights {policy} is not read: {wrong}.")
    return str(path.resolve())


def resolve_weights(backbone: Backbone, policy: str) -> Weights:
    """Return what a policy means for one backbone.

    ``imagenet`` is satisfied by weights that are packaged or cached on this machine, so that it and ``local``
    name the same run where both find the same weights. A network that has no pretrained weights trains from
    scratch under every policy but a path.

    Args:
        backbone: the adapter.
        policy: a policy that :func:`check_policy` returned.
    """
    if policy == "none":
        return Weights(policy=policy, requested="none", used="none")
    if policy not in POLICIES:
        path = Path(policy)
        return Weights(policy=policy, requested=f"sha256:{hash_file(path)}", used="file", path=path)
    at_hand = backbone.local_weights() if backbone.local_weights else None
    if at_hand is not None:
        if backbone.imagenet is None:
            return Weights(policy=policy, requested=f"sha256:{hash_file(at_hand)}", used="file", path=at_hand)
        return Weights(policy=policy, requested=f"imagenet:{backbone.imagenet}", used="imagenet", path=at_hand)
    if policy == "imagenet" and backbone.imagenet is not None:
        return Weights(policy=policy, requested=f"imagenet:{backbone.imagenet}", used="imagenet")
    return Weights(policy=policy, requested="none", used="none")
