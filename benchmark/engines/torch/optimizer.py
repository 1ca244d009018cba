"""The recipe's optimiser in torch, every constant set."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.recipe import Optimizer, Regularization

STEP = "optimizer/step"


class TorchOptimizer:
    """Changes parameters by their gradients.

    Adam and AdamW are torch's: ``m_hat / (sqrt(v_hat) + eps)``. With ``epsilon_inside`` epsilon stands before the
    bias correction, as in Keras: ``lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)``, which is torch's formula
    with ``eps / sqrt(1 - b2^t)`` in place of eps. SGD is torch's: the learning rate multiplies the whole momentum.
    The penalty's slope is added to the gradients before they are clipped.

    Args:
        rule: the recipe's.
        parameters: what is trained, by name; slots are kept under these names.
        factors: on the learning rate, of those whose factor is not 1.
        penalty: on kernels.
    """

    def __init__(
        self,
        rule: Optimizer,
        parameters: Mapping[str, nn.Parameter],
        factors: Mapping[str, float] | None = None,
        penalty: Regularization | None = None,
    ) -> None:
        self._rule = rule
        self._penalty = penalty or Regularization()
        self._kernels = [kernel for kernel in parameters.values() if self._penalty.penalizes(kernel.ndim)]
        self._parameters = dict(parameters)
        self._list = list(parameters.values())
        self.optimizer = _optimizer(rule, _groups(rule, parameters, factors or {}))
        self._factors = [group.pop("factor") for group in self.optimizer.param_groups]
        self._slots = {"adam": ("exp_avg", "exp_avg_sq"), "adamw": ("exp_avg", "exp_avg_sq")}.get(
            rule.name, ("momentum_buffer",) if rule.momentum else ()
        )
        self._fill()

    def _fill(self) -> None:
        """Make the slots that torch makes at the first step, so that a state has the same names from the start."""
        adaptive = self._rule.name != "sgd"
        for parameter in self._list:
            state = self.optimizer.state[parameter]
            for slot in self._slots:
                state[slot] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            if adaptive:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)

    def apply(self, learning_rate: float, step: int, scaler: "torch.amp.GradScaler | None") -> None:
        """Do one update from the parameters' gradients.

        Args:
            learning_rate: for factor 1.
            step: from 1.
            scaler: of the loss, for float16.
        """
        rule = self._rule
        epsilon = rule.epsilon / math.sqrt(1 - rule.beta2**step) if rule.epsilon_inside else rule.epsilon
        for group, factor in zip(self.optimizer.param_groups, self._factors, strict=True):
            group["lr"] = learning_rate * factor
            if "eps" in group:
                group["eps"] = epsilon
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        if self._kernels:
            self._penalize()
        if rule.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._list, rule.clip_norm)
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()

    def _penalize(self) -> None:
        """Add the slope of ``l1 sum|w| + l2 sum w^2`` to the gradients."""
        kernels = [kernel for kernel in self._kernels if kernel.grad is not None]
        gradients = [kernel.grad for kernel in kernels]
        if not kernels:  # torch takes no empty list of tensors
            return
        with torch.no_grad():
            if self._penalty.l1:
                torch._foreach_add_(gradients, torch._foreach_sign(kernels), alpha=self._penalty.l1)
            if self._penalty.l2:
                torch._foreach_add_(gradients, kernels, alpha=2 * self._penalty.l2)

    def arrange(self, memory_format: torch.memory_format) -> None:
        """Keep slots of four dimensions in a memory format."""
        for parameter in self._list:
            state = self.optimizer.state[parameter]
            for slot in self._slots:
                if state[slot].ndim == 4:
                    state[slot] = state[slot].contiguous(memory_format=memory_format)

    def forget_gradients(self) -> None:
        """Drop the gradients of the step before.

        Best done between forward and backward pass: memory that is freed and taken again at once stays mapped, and
        on a CPU mapping it anew costs several per cent of a step.
        """
        self.optimizer.zero_grad(set_to_none=True)

    def slots(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps, by name; the count of steps, which is every parameter's, of the first."""
        slots = {
            f"optimizer/{slot}/{name}": self.optimizer.state[parameter][slot]
            for slot in self._slots
            for name, parameter in self._parameters.items()
        }
        if self._rule.name != "sgd" and self._list:
            slots[STEP] = self.optimizer.state[self._list[0]]["step"]
        return slots

    def spread_step(self) -> None:
        """Give every parameter the count of steps of the first, after that was set."""
        for parameter in self._list[1:]:
            self.optimizer.state[parameter]["step"].copy_(self.optimizer.state[self._list[0]]["step"])


def _groups(
    rule: Optimizer, parameters: Mapping[str, nn.Parameter], factors: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return parameter groups by learning rate and decay. Parameters of one dimension are norms and biases."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decays = parameter.ndim > 1 or rule.decay_norms_and_biases
        groups.setdefault((factors.get(name, 1.0), rule.weight_decay if decays else 0.0), []).append(parameter)
    return [
        {"params": members, "factor": factor, "weight_decay": decay} for (factor, decay), members in groups.items()
    ]


class _DecoupledSGD(torch.optim.SGD):  # type: ignore[misc]  # torch is not typed here
    """SGD whose weight decay shrinks the weights by the learning rate (Loshchilov & Hutter 2019, algorithm 1)."""

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: None = None) -> None:
        """Shrink what has a gradient, then do SGD's step without decay."""
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["weight_decay"] and moved:
                torch._foreach_mul_(moved, 1 - group["lr"] * group["weight_decay"])
            group["weight_decay"] = 0.0
        super().step()
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = decay


def _optimizer(rule: Optimizer, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return torch's optimiser; the fused kernels, which are the fastest on CPU and GPU alike."""
    if rule.name == "sgd":
        # a fused kernel would be called also where float16 has overflowed, and leave only its own part undone
        kind, fused = (_DecoupledSGD, False) if rule.decoupled else (torch.optim.SGD, True)
        return kind(
            groups,
            lr=rule.learning_rate,
            momentum=rule.momentum,
            dampening=0.0,
            nesterov=rule.nesterov and rule.momentum > 0,
            fused=fused,
        )
    adam = torch.optim.AdamW if rule.decoupled else torch.optim.Adam
    return adam(
        groups,
        lr=rule.learning_rate,
        betas=(rule.beta1, rule.beta2),
        eps=rule.epsilon,
        amsgrad=False,
        fused=True,
    )
