"""Markdown tables and JSON files of measurements."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wavenet.atomic_files import write_text
from wavenet.machine import machine


def header(columns: Mapping[str, int]) -> str:
    """Return the first two lines of a Markdown table with the given column widths."""
    return "\n".join([line_of(list(columns), columns), line_of(["-" * width for width in columns.values()], columns)])


def line_of(cells: Sequence[str], columns: Mapping[str, int]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, columns.values(), strict=True))} |"


def median_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the median of the ratios of measurements made in the same round."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def write_json(path: Path, rows: Sequence[Any], **more: Any) -> None:
    """Write the machine, further values and the rows, which are dataclasses, to a JSON file."""
    result = {"machine": machine(), **more, "rows": [asdict(row) for row in rows]}
    write_text(path, json.dumps(result, indent=2) + "\n")
