"""Measurement of a case in its own process, which has its own settings, libraries and peak memory."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

_CHECKOUT = Path(__file__).parents[2]  # where -m finds the benchmarks


def measure_in_process(module: str, case: Any, seconds: float, environment: Mapping[str, str] = os.environ) -> Any:
    """Run a module with a case and a time in seconds as its arguments.

    Args:
        module: Its name; as a program, it prints a result as its last line, in JSON.
        case: A dataclass, passed as JSON.
        seconds: Minimum length of the measurement.
        environment: The process's environment variables.

    Returns:
        The result.

    Raises:
        RuntimeError: If it fails; names the case, and has all that it printed as errors.
    """
    command = [sys.executable, "-W", "ignore", "-m", module, json.dumps(asdict(case)), str(seconds)]
    process = subprocess.run(command, cwd=_CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"measuring {case} failed:\n{process.stderr}")
    return json.loads(process.stdout.splitlines()[-1])
