"""The cluster: what each worker asks of it, and how it is reached, as one record read from TOML (``--cluster FILE``).

.. code-block:: toml

    gpus = 1
    cpus = 8
    memory = "32GB"
    at_once = 16

    # Slurm
    partition = "gpu"
    account = "radiology"
    time_limit = "4h"
    setup = ["module load cuda"]
"""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from benchmark.errors import UserError, nearest
from benchmark.text import seconds_of
from benchmark.toml_files import read_toml
from benchmark.training.feature_store import parse_size


def _of_text(read: Any) -> BeforeValidator:
    """Return what reads a number that was written with its unit, and leaves any other value to its type."""
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


_Word = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f]+$")]
_Line = Annotated[str, Field(max_length=2000, pattern=r"^[^\n\r\x00]*$")]


class Cluster(BaseModel):
    """What a worker asks for, and how the cluster is reached. ``None`` leaves a choice to the executor.

    Args:
        gpus: GPUs of a worker, 0 or 1, as a run uses no more than one. ``None`` is one where the plan's runs are for
            a GPU that this machine has.
        cpus: cores of a worker, and threads of its arithmetic. ``None`` is an even share of the smallest node's cores
            with Ray, and with Slurm what Slurm gives where nothing is asked for, normally one.
        memory: bytes that a worker and all that it starts may take; a run that takes more ends as ``oom``.
        at_once: the most workers at a time, with Slurm of one submission; ``None`` is as many as there is room for.
        bfloat16: whether the cluster's GPUs compute in bfloat16, which ``precision = "auto"`` then chooses; asked of
            the user, because the plan is made before any of them is seen.
        partition, account: of Slurm, handed on as they are.
        time_limit: seconds that Slurm may let a job run; it is then put into the queue again, and goes on. ``None``
            is four hours.
        save_time: seconds before its end at which a Slurm job is told of it, and saves: an epoch should fit in.
        setup: shell lines before a Slurm job's worker starts.
        ray_address: of a running Ray cluster (``HOST:PORT``, ``ray://HOST:PORT``, ``auto``); ``None`` starts Ray on
            this machine alone.
        scratch: a folder of each node for what a run needs until it is done; its record then comes home through
            Ray. ``None`` is the results folder itself where a node sees it and what runs read, else ``cluster/`` in
            the node's cache, which stays, and may be deleted while nothing runs there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: Annotated[int, Field(ge=0, le=1)] | None = None
    cpus: Annotated[int, Field(ge=1)] | None = None
    memory: Annotated[int, Field(ge=2**20), _of_text(parse_size)] | None = None
    at_once: Annotated[int, Field(ge=1)] | None = None
    bfloat16: bool = True
    partition: _Word | None = None
    account: _Word | None = None
    time_limit: Annotated[float, Field(ge=60), _of_text(seconds_of)] | None = None
    save_time: Annotated[float, Field(ge=20), _of_text(seconds_of)] = 120.0
    setup: tuple[_Line, ...] = ()
    ray_address: _Word | None = None
    scratch: Path | None = None


# Which fields only one executor reads; all others are for every cluster.
_OF_ONE = {
    "slurm": ("partition", "account", "time_limit", "save_time", "setup"),
    "ray": ("ray_address", "scratch"),
}
_ALLOWED = {
    "gpus": "0 or 1: a run uses no more than one GPU",
    "cpus": "a whole number from 1",
    "memory": "a size such as '16GB'",
    "at_once": "a whole number from 1",
    "bfloat16": "true or false",
    "time_limit": "a time from one minute, such as '90m' or '4h'",
    "save_time": "a time from 20 s, such as '5m'",
    "setup": "a list of shell lines",
}


def cluster_of(
    file: Path | None, executor: str, ray_address: str | None = None, executors: Collection[str] = ("ray", "slurm")
) -> Cluster:
    """Return the cluster that a file and the command line describe.

    Args:
        file: TOML; ``None`` leaves every choice to the executor.
        executor: name of the executor that will read it.
        ray_address: of the command line; it goes before that of the file.
        executors: names of those that need a cluster, for the message.

    Raises:
        UserError: the file can't be read, an unknown field or a value that is not allowed, or something that this
            executor has no use for.
    """
    if ray_address is not None and executor != "ray":
        raise UserError("--ray-address is for --executor ray: give both, or neither.")
    if file is not None and executor == "local":
        raise UserError(f"--cluster is for another executor than local: add --executor {' or '.join(executors)}.")
    where = f"cluster file '{file}'"
    values = {} if file is None else read_toml(file, f"Cluster file '{file}'", where)
    for other, names in _OF_ONE.items():
        strange = next((name for name in names if name in values), None)
        if strange is not None and other != executor:
            raise UserError(
                f"In {where}: {strange} is for --executor {other}; --executor {executor} has no use for it."
            )
    if ray_address is not None:
        values["ray_address"] = ray_address
    try:
        return Cluster.model_validate(values)
    except ValidationError as error:
        raise UserError(_sentence(error, where)) from None


def _sentence(error: ValidationError, where: str) -> str:
    """Return what is wrong in one sentence that names file and field, and what is allowed."""
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        names = list(Cluster.model_fields)
        return f"Unknown field '{field}' in {where}.{nearest(field, names)} Allowed: {', '.join(names)}."
    if field == "ray_address":
        where = "--ray-address or the cluster file"
    return f"In {where}, {field}: {_ALLOWED.get(field, 'a word')} is allowed, not {first['input']!r}."
