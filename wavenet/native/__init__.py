"""The shared parts of native code on a CPU: network layout, building blocks of the loops, threads, and drawing.

`layout` is the only module that reads a model's layers; `verification` compares the native network with the PyTorch
network before its first use. The loops are in `wavenet/generation/cpu_kernels.py` and
`wavenet/training/cpu_kernels.py`.
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
    """Return why native code cannot compute a model on this machine; None if it can."""
    weight = next(model.parameters())
    if weight.device.type != "cpu":
        return f"the model is on {weight.device} (use device=cpu or model.cpu())"
    if weight.dtype != torch.float32:
        return f"it computes in float32, and the model is {str(weight.dtype).removeprefix('torch.')}"
    try:
        import wavenet.native.instructions  # noqa: F401, PLC0415
    except Exception as error:  # numba checks its environment on import, and raises many types of errors
        return f"numba cannot be used here ({type(error).__name__}: {error})"
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return "numba is switched off by NUMBA_DISABLE_JIT"
    unknown = unsupported_reason(model)
    return None if unknown is None else f"native code computes the plain network only, and {unknown}"
