"""What native code on a CPU shares: the network's structure, the building blocks of its loops, threads, and drawing.

`layout` is the only reader of a model's layers; `verification` compares both forms of a network when one is first
used. The loops themselves stand in `wavenet/generation/cpu_kernels.py` and `wavenet/training/cpu_kernels.py`.
"""

import os

import torch

from wavenet.model import WaveNet
from wavenet.native.layout import Layout, UnknownNetworkError, unsupported_reason
from wavenet.native.rounding import dtype_of, with_rounded_weights, without_parametrizations
from wavenet.native.threads import Workers, yield_address

__all__ = [
    "Layout",
    "UnknownNetworkError",
    "Workers",
    "dtype_of",
    "native_unsupported_reason",
    "unsupported_reason",
    "with_rounded_weights",
    "without_parametrizations",
    "yield_address",
]


def native_unsupported_reason(model: WaveNet) -> str | None:
    """Why native code cannot compute a model, or not on this machine; None if it can."""
    weight = next(model.parameters())
    if weight.device.type != "cpu":
        return f"the model is on {weight.device} (device=cpu, or model.cpu(), would do)"
    if weight.dtype != torch.float32:
        return f"it computes in float32, and the model is {str(weight.dtype).removeprefix('torch.')}"
    try:
        import wavenet.native.instructions  # noqa: F401, PLC0415
    except Exception as error:  # numba checks its surroundings when it is imported, and has many ways to say no
        return f"numba cannot be used here ({type(error).__name__}: {error})"
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return "numba is switched off by NUMBA_DISABLE_JIT"
    unknown = unsupported_reason(model)
    return None if unknown is None else f"it computes the plain network, and {unknown}"
