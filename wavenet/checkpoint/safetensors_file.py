"""The header of a safetensors file, checked before any tensor is loaded."""

import struct
from pathlib import Path

import safetensors
import torch

from wavenet.checkpoint.plain_data import TensorPlan, check_file, check_name, parse_json

HEADER_LIMIT = 4 * 2**20  # bytes
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def plan_of_safetensors(path: Path) -> dict[str, TensorPlan]:
    """Read the names, types and shapes of a safetensors file's tensors from its header."""
    size = check_file(path)
    with path.open("rb") as file:
        beginning = file.read(8)
        length = struct.unpack("<Q", beginning)[0] if len(beginning) == 8 else 0
        header = file.read(length) if 0 < length <= min(size - 8, HEADER_LIMIT) else b""
    if not header:
        raise ValueError(f"not readable as safetensors (a header of {length} bytes in a file of {size})")
    parse_json(header.decode())
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            slices = {check_name(name): file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no dict
            found = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except safetensors.SafetensorError as error:
        raise ValueError(f"not readable as safetensors ({error})") from error
    for name, (dtype, _) in found.items():
        if dtype not in _DTYPES:
            raise ValueError(f"holds {name} as {dtype}; weights are one of {', '.join(_DTYPES)}")
    return {name: TensorPlan(_DTYPES[dtype], shape) for name, (dtype, shape) in found.items()}
