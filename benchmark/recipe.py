"""The recipe: every training choice, as data.

A recipe is a frozen, validated record read from TOML. Nothing that changes a result lives elsewhere, so the
resolved recipe is part of a run's identity.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmark.errors import UserError, nearest

SHIPPED = Path(__file__).parent / "recipes"

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Switch = Literal["auto", "on", "off"]


class Section(BaseModel):
    """A frozen record that knows all its fields and accepts no other."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Optimizer(Section):
    """The update rule, with every constant that Keras and torch set differently when left alone.

    Adam follows Kingma & Ba 2015, AdamW Loshchilov & Hutter 2019. ``epsilon_inside`` adds epsilon before the
    bias correction, as Keras does; otherwise after it, as torch does.
    """

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: Positive = 1e-3
    head_learning_rate_factor: Positive = 1.0
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-8
    epsilon_inside: bool = False
    momentum: Fraction = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    decay_norms_and_biases: bool = False
    clip_norm: Positive | None = None

    @property
    def decoupled(self) -> bool:
        """Whether weight decay is decoupled from the gradient (AdamW) or an L2 term in it (Adam, SGD)."""
        return self.name == "adamw"


class Schedule(Section):
    """The learning rate as a factor of ``optimizer.learning_rate``, per step or per epoch.

    ``one_cycle`` (Smith 2018) rises by a cosine from ``start_factor`` over ``warmup`` of the steps and falls by
    a cosine to ``end_factor``; ``cosine`` rises linearly and falls likewise; ``warmup_exponential`` is the seed
    notebook's: linear from ``start_factor`` over ``warmup_epochs``, then times ``decay`` each epoch.
    """

    name: Literal["constant", "one_cycle", "cosine", "warmup_exponential"] = "one_cycle"
    warmup: Fraction = 0.3
    start_factor: Annotated[float, Field(ge=0, le=1)] = 0.04
    end_factor: Annotated[float, Field(ge=0, le=1)] = 1e-4
    warmup_epochs: Annotated[int, Field(ge=0)] = 5
    decay: Annotated[float, Field(gt=0, le=1)] = 0.8


class Loss(Section):
    """Cross-entropy. A class's weight multiplies its images' loss; ``class_weight_normalization`` divides the sum
    by the number of images (``batch``, as Keras) or by the sum of weights (``weights``, as torch).
    """

    label_smoothing: Fraction = 0.0
    class_weights: Literal["none", "balanced"] | dict[str, Positive] = "none"
    class_weight_normalization: Literal["batch", "weights"] = "batch"


class Head(Section):
    """What stands after the features. ``native`` keeps what the backbone built, and then ``pooling`` is unused.

    ``linear`` is pooling, dropout, one dense layer; ``dense256`` has a dense layer of 256 with ReLU before the
    dropout.
    New layers start from Glorot uniform kernels and zero biases drawn by NumPy, alike on every framework.
    """

    kind: Literal["native", "linear", "dense256"] = "native"
    pooling: Literal["average", "max", "flatten"] = "average"
    dropout: Fraction = 0.0

    @model_validator(mode="after")
    def _native_has_no_dropout(self) -> Self:
        if self.kind == "native" and self.dropout:
            raise ValueError("head.dropout needs head.kind = 'linear' or 'dense256'; a native head is left alone")
        return self


class BatchNorm(Section):
    """Normalisation alike in both frameworks.

    ``momentum`` is the weight of the new batch in the running statistics (torch's convention: 0.1 is Keras's
    0.9). ``variance`` says whether the running variance is the batch's unbiased or biased one.
    """

    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    variance: Literal["unbiased", "biased"] = "unbiased"


class EarlyStopping(Section):
    """Stop after ``patience`` epochs without a lower validation loss; ``None`` never stops.

    ``restore_best`` ends with the weights of the epoch of lowest validation loss.
    """

    patience: Annotated[int, Field(ge=1)] | None = None
    restore_best: bool = True


class Execution(Section):
    """How the arithmetic is carried out. Every ``auto`` is resolved before the first epoch and recorded.

    ``precision = auto`` is bfloat16 autocast on a GPU that has it, else float32. ``compile`` is torch.compile
    or XLA; ``auto`` measures both where training is long enough to repay it. ``deterministic`` asks for
    bit-for-bit repeatable arithmetic and forbids ``auto``.
    """

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    tf32: bool = False
    channels_last: Switch = "auto"
    compile: Switch = "auto"
    deterministic: bool = False


class Recipe(Section):
    """Every training choice of a run.

    Sizes are in pixels of the square network input; ``size = 0`` is the backbone's own ``input_size``.
    ``trainable_from`` is ``"all"``, ``"head"`` or the name of the first stage that is trained.
    ``preprocessing = "unit"`` feeds 0-1 whatever the backbone declares (the seed notebook's mistake, kept so that
    its rows can be reproduced). ``validation_fraction`` of the training images, cut by group, judge epochs.
    """

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    size: Annotated[int, Field(ge=0, le=4096)] = 0
    resize: Literal["squash", "pad"] = "squash"
    preprocessing: Literal["declared", "unit"] = "declared"
    validation_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    trainable_from: str = "all"
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loss: Loss = Loss()
    head: Head = Head()
    batch_norm: BatchNorm = BatchNorm()
    early_stopping: EarlyStopping = EarlyStopping()
    execution: Execution = Execution()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if 0 < self.size < 8:
            raise ValueError(f"size must be 0 (the backbone's own) or at least 8 pixels, not {self.size}")
        if self.execution.deterministic and "auto" in (self.execution.channels_last, self.execution.compile):
            raise ValueError(
                "execution.deterministic forbids 'auto': set execution.channels_last and execution.compile"
            )
        if self.execution.deterministic and self.execution.precision == "auto":
            raise ValueError("execution.deterministic forbids 'auto': set execution.precision")
        return self

    def with_values(self, changes: Mapping[str, Any]) -> "Recipe":
        """Return a copy with dotted fields replaced (``{"optimizer.learning_rate": 1e-4}``), validated anew.

        Raises:
            UserError: an unknown field or a value that is not allowed, named with what is.
        """
        values = self.model_dump()
        for dotted, value in changes.items():
            *sections, name = dotted.split(".")
            target: Any = values
            for section in sections:
                target = target.get(section) if isinstance(target, dict) else None
            if not isinstance(target, dict) or name not in target:
                raise UserError(f"Unknown recipe field '{dotted}'.{nearest(dotted, field_names())}")
            target[name] = value
        return validated(values, "the recipe")


def field_names(model: type[Section] = Recipe, prefix: str = "") -> tuple[str, ...]:
    """Return the dotted names of all recipe fields."""
    names: list[str] = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            names += field_names(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return tuple(names)


def validated(values: Mapping[str, Any], where: str) -> Recipe:
    """Return the recipe made of ``values``; raises ``UserError`` naming ``where`` and the field."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "recipe"
        if first["type"] == "extra_forbidden":
            raise UserError(f"Unknown field '{field}' in {where}.{nearest(field, field_names())}") from None
        message = first["msg"].removeprefix("Value error, ")
        got = f", not {first['input']!r}" if first["loc"] and not isinstance(first["input"], dict) else ""
        raise UserError(f"In {where}, {field}: {message}{got}.") from None


def shipped_names() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def load_recipe(name: str) -> Recipe:
    """Return a shipped recipe by name, or one from a ``.toml`` file by path.

    Raises:
        UserError: no such recipe, not TOML, or a field that is not allowed.
    """
    if name in shipped_names():
        text, where = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8"), f"recipe '{name}'"
    elif name.endswith(".toml"):
        try:
            text, where = Path(name).read_text(encoding="utf-8"), f"recipe file '{name}'"
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"Recipe file '{name}' can't be read: {error}.") from None
    else:
        raise UserError(
            f"Unknown recipe '{name}'.{nearest(name, shipped_names())} "
            f"Known: {', '.join(shipped_names())}; or give the path of a .toml file."
        )
    try:
        return validated(tomllib.loads(text), where)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"In {where}: {error}.") from None
