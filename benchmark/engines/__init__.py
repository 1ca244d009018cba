"""Engines: what runs a backbone of one framework. Importing this package imports no framework."""

from benchmark.engines.base import BuildSpec, Device, Engine, Handle, Network, StepInput

__all__ = ["BuildSpec", "Device", "Engine", "Handle", "Network", "StepInput", "create"]


def create(framework: str, device: str, *, tf32: bool, deterministic: bool) -> Engine:
    """Return an engine. One process may make engines of one framework only.

    Args:
        framework: ``"torch"`` or ``"tensorflow"``; Keras networks run on either.
        device: ``"cpu"`` or ``"cuda"``.
        tf32: whether float32 matrix products and convolutions may use TF32 on a GPU.
        deterministic: whether arithmetic must be repeatable bit for bit.

    Raises:
        RunFailure: ``missing_dependency`` where the framework can't be imported, ``unsupported`` where it does
            not see the device.
    """
    if framework == "torch":
        from benchmark.engines.torch.engine import TorchEngine

        return TorchEngine(device, tf32=tf32, deterministic=deterministic)
    from benchmark.engines.tensorflow.engine import TensorFlowEngine

    return TensorFlowEngine(device, tf32=tf32, deterministic=deterministic)
