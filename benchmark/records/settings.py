"""The settings of a run: what the user chose for it beside what makes it the run that it is.

None of it is part of a run's identity. The request takes these fields from the command line by their names, each job
carries the record to its worker, and the worker stores it with the run: a choice is declared here and nowhere else.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from benchmark.draws.corruptions import known_corruptions
from benchmark.text import plain


class Settings(BaseModel):
    """What the user chose for all runs of a command.

    Args:
        plugins: files that declare further backbones; the worker reads them again.
        keras_backend: which backend Keras must use, where a backbone runs on several.
        allow_scratch: whether a run goes on without pretrained weights where they can't be had.
        oom: what is done where memory is too small: ``fail``, or ``accumulate`` gradients over parts of a batch.
        cache_budget: bytes that kept outputs of frozen stages may take; 0 keeps none, ``None`` is the default.
        cams: how many test images are explained by heat maps; 0 for none, ``None`` for the default.
        cam_method: by which formula heat maps are made: ``grad-cam``, ``hirescam`` or ``layercam``.
        cam_check: whether heat maps are also compared with those of weights drawn anew.
        corruptions: kinds of spoilt test images that a trained network is asked about, too, by name.
        checkpoint_every: seconds that lie at least between two checkpoints of a run; 0 is after each epoch.
        keep_models: which trained models are kept: ``all``, that of the ``best`` row of the board, or ``none``.
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
    cam_method: Literal["grad-cam", "hirescam", "layercam"] = "grad-cam"
    cam_check: bool = False
    corruptions: Annotated[tuple[str, ...], AfterValidator(known_corruptions)] = ()
    checkpoint_every: Annotated[float, Field(ge=0)] = 30.0
    keep_models: Literal["all", "best", "none"] = "best"
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    note: Annotated[str, Field(max_length=1000), AfterValidator(plain)] = ""

    @model_validator(mode="before")
    @classmethod
    def _without_what_there_was(cls, values: Any) -> Any:
        """Leave out ``keep_weights``, which kept checkpoints until version 1: records of then have it."""
        if isinstance(values, dict) and isinstance(values.get("keep_weights"), bool):
            return {name: value for name, value in values.items() if name != "keep_weights"}
        return values
