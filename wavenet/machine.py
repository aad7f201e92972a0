"""Description of the machine, for measurements."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def machine() -> dict[str, Any]:
    """Return the machine's processor, GPU and software versions, and the date."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    return {
        "processor": name,
        "cores": os.cpu_count(),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "system": platform.system(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "numba")},
        "date": datetime.now(UTC).date().isoformat(),
    }


def machine_in_words() -> str:
    """Return `machine` as one line of text."""
    return ", ".join(f"{name} {value}" for name, value in machine().items())
