"""What torch raises, as the outcomes that say so."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from benchmark.engines.shared import out_of_memory
from benchmark.records.outcomes import Outcome, RunFailure

_COMPILER = ("torch._dynamo", "torch._inductor")

_P = ParamSpec("_P")
_R = TypeVar("_R")


def guarded(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn lack of memory, and what torch.compile can't do, into the outcomes that say so."""

    @functools.wraps(method)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(*args, **kwargs)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise out_of_memory() from error
        except RuntimeError as error:
            if type(error).__module__.startswith(_COMPILER):
                reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
                raise RunFailure(
                    Outcome.UNSUPPORTED,
                    f"torch.compile fails here ({reason[:200]}): set execution.compile = 'off'.",
                ) from error
            if "DefaultCPUAllocator" in str(error):
                raise out_of_memory() from error
            raise

    return called
