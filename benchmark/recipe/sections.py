"""The sections of a recipe: records of what belongs together, each field with what is allowed."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
