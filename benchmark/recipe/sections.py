"""The sections of a recipe: records of what belongs together, each field with what is allowed."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Switch = Literal["auto", "on", "off"]
Flips = Literal["none", "horizontal", "all"]


class Section(BaseModel):
    """A frozen record that knows all its fields and accepts no other."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Optimizer(Section):
    """The update rule, with every constant that Keras and torch set differently when left alone.

    Adam follows Kingma & Ba 2015, AdamW Loshchilov & Hutter 2019. ``epsilon_inside`` adds epsilon before the
    bias correction, as Keras does; otherwise after it, as torch does. ``decoupled_decay`` says whether weight decay
    shrinks the weights apart from the gradient, by the learning rate, or is an L2 term in the gradient; unless it is
    given, AdamW's is decoupled and that of Adam and SGD is not. ``clip_norm`` is the largest norm of all gradients
    together. A stage's learning rate is multiplied by ``layer_decay`` for each stage between it and the head (Bao
    et al. 2022), the head's by ``head_learning_rate_factor``.
    """

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: Positive = 1e-3
    head_learning_rate_factor: Positive = 1.0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-8
    epsilon_inside: bool = False
    momentum: Fraction = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    decoupled_decay: bool | None = None
    decay_norms_and_biases: bool = False
    clip_norm: Positive | None = None

    @property
    def decoupled(self) -> bool:
        """Whether weight decay is decoupled from the gradient or an L2 term in it."""
        return self.name == "adamw" if self.decoupled_decay is None else self.decoupled_decay

    @model_validator(mode="after")
    def _adamw_is_decoupled(self) -> Self:
        if self.name == "adamw" and self.decoupled_decay is False:
            raise ValueError("AdamW is Adam with decoupled decay: for an L2 term in the gradient, name = 'adam'")
        return self


class Schedule(Section):
    """The learning rate as a factor of ``optimizer.learning_rate``, per step or per epoch.

    ``one_cycle`` (Smith 2018) rises by a cosine from ``start_factor`` over ``warmup`` of the steps and falls by
    a cosine to ``end_factor``; ``cosine`` rises linearly and falls likewise; ``warmup_exponential`` is the seed
    notebook's: linear from ``start_factor`` over ``warmup_epochs``, then times ``decay`` each epoch; ``plateau`` is
    multiplied by ``plateau_factor``, down to ``end_factor``, whenever ``plateau_patience`` epochs have passed in
    which no validation loss was lower by more than ``plateau_min_delta`` than the lowest before.
    """

    name: Literal["constant", "one_cycle", "cosine", "warmup_exponential", "plateau"] = "one_cycle"
    warmup: Fraction = 0.3
    start_factor: Annotated[float, Field(ge=0, le=1)] = 0.04
    end_factor: Annotated[float, Field(ge=0, le=1)] = 1e-4
    warmup_epochs: Annotated[int, Field(ge=0)] = 5
    decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    plateau_patience: Annotated[int, Field(ge=1)] = 3
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    plateau_min_delta: Annotated[float, Field(ge=0)] = 1e-4


class Loss(Section):
    """Cross-entropy. A class's weight multiplies its images' loss; ``class_weight_normalization`` divides the sum
    by the number of images (``batch``, as Keras) or by the sum of weights (``weights``, as torch). ``focal_gamma``
    multiplies an image's loss by ``(1 - p)^gamma``, p being the probability of its class (Lin et al. 2017); 0 is off.
    """

    label_smoothing: Fraction = 0.0
    focal_gamma: Annotated[float, Field(ge=0)] = 0.0
    class_weights: Literal["none", "balanced"] | dict[str, Positive] = "none"
    class_weight_normalization: Literal["batch", "weights"] = "batch"


class Regularization(Section):
    """``l1 sum|w| + l2 sum w^2`` as a part of what is minimised, as Keras's ``L1L2`` on each kernel that is trained.

    ``kernels`` says on which: those of two-dimensional convolutions (``conv``), or ``all``, dense ones included.
    Norms and biases are never among them, and the losses that are recorded leave the penalty out.
    """

    l1: Annotated[float, Field(ge=0)] = 0.0
    l2: Annotated[float, Field(ge=0)] = 0.0
    kernels: Literal["conv", "all"] = "all"

    def penalizes(self, dimensions: int) -> bool:
        """Return whether a weight of so many dimensions has a penalty."""
        return bool(self.l1 or self.l2) and (dimensions == 4 or (self.kernels == "all" and dimensions > 1))


class Ema(Section):
    """An exponential moving average of weights and running statistics, which is then what is validated, kept as the
    best epoch and tested. ``decay`` is the share of the old average at each step; 0 is off. With ``warmup`` it is
    ``min(decay, (1 + t) / (10 + t))`` at step t, so that the initial weights are soon forgotten.
    """

    decay: Fraction = 0.0
    warmup: bool = True


class Head(Section):
    """What stands after the features. ``native`` keeps what the backbone built, and then ``pooling`` is unused.

    ``linear`` is pooling, dropout, one dense layer; ``dense256`` has a dense layer of 256 with ReLU before the
    dropout.
    New layers start from Glorot uniform kernels and zero biases drawn by NumPy, alike on every framework.
    ``dropout`` of a native head is the adapter's affair: one that has a place for it takes ``dropout`` in its
    ``build``, and any other can't be run so.
    """

    kind: Literal["native", "linear", "dense256"] = "native"
    pooling: Literal["average", "max", "flatten"] = "average"
    dropout: Fraction = 0.0


class BatchNorm(Section):
    """Normalisation alike in both frameworks.

    ``momentum`` is the weight of the new batch in the running statistics (torch's convention: 0.1 is Keras's
    0.9). ``variance`` says whether the running variance is the batch's unbiased or biased one.
    """

    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    variance: Literal["unbiased", "biased"] = "unbiased"


class EarlyStopping(Section):
    """Stop after ``patience`` epochs without a better one; ``None`` never stops.

    ``monitor`` says which of two epochs is the better: that of lower validation loss (``val_loss``), or of higher
    macro-F1 on the validation images (``val_macro_f1``), and where that is equal of lower loss. ``restore_best`` ends
    with the weights of the best epoch, otherwise with those of the last.
    """

    patience: Annotated[int, Field(ge=1)] | None = None
    restore_best: bool = True
    monitor: Literal["val_loss", "val_macro_f1"] = "val_loss"


class Testing(Section):
    """How validation and test images are predicted once training is over; the epoch is chosen without it.

    ``flips`` averages the probabilities of an image and of its mirror images: ``horizontal`` is one mirror image,
    ``all`` is four views, left and right, up and down. It costs as many predictions, which the speeds have in them.
    """

    flips: Flips = "none"


class Execution(Section):
    """How the arithmetic is carried out. Every ``auto`` is resolved before the first epoch and recorded.

    ``precision = auto`` is bfloat16 autocast on a GPU that has it, else float32; ``native`` is bfloat16 on a
    processor that multiplies in it too (AVX512-BF16, AMX). That makes dense convolutions faster and depthwise ones
    slower, so a recipe asks for it by family. ``compile`` is torch.compile
    or XLA, of the training steps and of predictions; not of the one pass over the images in which the outputs of
    frozen stages are computed to be kept, which would take less time than to compile it. ``auto`` of it and of
    ``channels_last`` measures both ways where training is long enough to repay it.
    ``threads`` is how many compute one operation on a CPU, where the engine can change that while it runs (torch):
    ``auto`` is all there are, and where other programs keep cores busy, or do so later, the number that was measured
    to be the fastest. ``deterministic`` asks for bit-for-bit repeatable arithmetic and forbids ``auto``, but of
    ``threads``, which it fixes. ``accumulate`` computes each batch in so many parts, one after the other, and adds up
    their gradients before the one update: the same step with less memory, but that BatchNorm then sees the parts.
    """

    precision: Literal["auto", "native", "float32", "bfloat16", "float16"] = "auto"
    tf32: bool = False
    channels_last: Switch = "auto"
    compile: Switch = "auto"
    deterministic: bool = False
    accumulate: Annotated[int, Field(ge=1)] = 1
    threads: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"


class Tuning(Section):
    """Learning rates to try within one run, one after the other, from the same initial weights.

    The one with the lowest validation loss is kept, and only it predicts the test images; it takes the place of
    ``optimizer.learning_rate``. None: no tuning.
    """

    learning_rates: tuple[Positive, ...] = ()

    @model_validator(mode="after")
    def _different(self) -> Self:
        if len(set(self.learning_rates)) != len(self.learning_rates):
            raise ValueError("tuning.learning_rates has one twice; give each once")
        return self
