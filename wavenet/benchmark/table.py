"""Tables of measurements, and what they were measured on."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from wavenet.writing import write_text


def machine() -> dict[str, Any]:
    """What it was measured on."""
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
    """What it was measured on, in a line."""
    return ", ".join(f"{name} {value}" for name, value in machine().items())


def header(columns: Mapping[str, int]) -> str:
    """The first two lines of a Markdown table with columns of these widths."""
    return "\n".join([line_of(list(columns), columns), line_of(["-" * width for width in columns.values()], columns)])


def line_of(cells: Sequence[str], columns: Mapping[str, int]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, columns.values(), strict=True))} |"


def median_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """Median of the ratios of what was measured in the same round."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def write_json(path: Path, rows: Sequence[Any], **more: Any) -> None:
    """Write everything that was measured; `rows` are dataclasses."""
    result = {"machine": machine(), **more, "rows": [asdict(row) for row in rows]}
    write_text(path, json.dumps(result, indent=2) + "\n")
