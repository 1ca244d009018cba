"""The settings of a run: what the user chose for it beside what makes it the run that it is.

None of it is part of a run's identity. The request takes these fields from the command line by their names, each job
carries the record to its worker, and the worker stores it with the run: a choice is declared here and nowhere else.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from benchmark.text import plain


class Settings(BaseModel):
    """What the user chose for all runs of a command.

    Args:
        plugins: files that declare further backbones; the worker reads them again.
        keras_backend: which backend Keras must use, where a backbone runs on several.
        allow_scratch: whether a run goes on without pretrained weights where they can't be had.
        oom: what is done where memory is too small: ``fail``, or ``accumulate`` gradients over parts of a batch.
        cache_budget: bytes that kept outputs of frozen stages may take; 0 keeps none, ``None`` is the default.
        cams: how many test images are explained by Grad-CAM; 0 for none, ``None`` for the default.
        cam_check: whether Grad-CAM maps are also compared with those of weights drawn anew.
        checkpoint_every: seconds that lie at least between two checkpoints of a run; 0 is after each epoch.
        keep_weights: whether the checkpoints of a run that is done are kept.
        workers: how many runs of this machine go on side by side; ``auto`` until the plan has resolved it.
        note: words of the user's own, which are kept with the runs that this command does; on one line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plugins: tuple[Path, ...] = ()
    keras_backend: Literal["tensorflow", "torch"] = "tensorflow"
    allow_scratch: bool = False
    oom: Literal["fail", "accumulate"] = "fail"
    cache_budget: int | None = None
    cams: int | None = None
    cam_check: bool = False
    checkpoint_every: Annotated[float, Field(ge=0)] = 30.0
    keep_weights: bool = False
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    note: Annotated[str, Field(max_length=1000), AfterValidator(plain)] = ""
