"""Machines of a run that are lost or frozen, and replaced: does the run end in the same weights?

    python -m tests.reliability.machines [--times 3]

Two agents of torchrun on this machine stand for two machines. One of them and its worker are killed or stopped, and a
new agent is started with the same command.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from scripts.benchmarks.table import header, line_of
from tests.training.test_clusters import COMMAND, descendants, free_port, last, same, started, torchrun, wait_for

_STEPS = 300
_PATIENCE = 240  # seconds
COLUMNS = {"machine is": 10, "seconds": 7, "ended as": 30}


def main() -> int:
    """Print the table; the exit code is 1 if a run did not end in the weights of an undisturbed one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=3, help="runs of each kind")
    times = parser.parse_args().times
    print(header(COLUMNS), flush=True)
    failed = False
    with tempfile.TemporaryDirectory() as name:
        expected = _run(Path(name) / "undisturbed", None)
        for kind, signum in (("killed", signal.SIGKILL), ("frozen", signal.SIGSTOP)):
            for number in range(times):
                began = time.monotonic()
                found = _run(Path(name) / f"{kind}-{number}", signum)
                ended = "the undisturbed run"
                if isinstance(found, str) or isinstance(expected, str):
                    ended = str(found)
                elif not same(found["state_dict"], expected["state_dict"]):
                    ended = "other weights"
                failed |= ended != "the undisturbed run"
                print(line_of([kind, f"{time.monotonic() - began:.0f}", ended], COLUMNS), flush=True)
    return int(failed)


def _run(folder: Path, signum: signal.Signals | None) -> dict | str:
    """Run to the end, with one machine lost after the first checkpoint; return the state, or why there is none."""
    folder.mkdir()
    port = free_port()
    command = [*torchrun(port), *COMMAND, f"trainer.max_steps={_STEPS}", "trainer.timeout=10"]
    environment = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "WAVENET_CACHE": str(folder.parent / "cache")}
    with ExitStack() as stack:

        def agent() -> subprocess.Popen:
            return stack.enter_context(started(command, [environment], [folder]))[0]

        machines = [agent()]
        _await(port)  # the machine that is not lost has the store through which the agents meet
        machines.append(agent())
        if signum is not None:
            wait_for(folder / "run" / "checkpoints" / "last.ckpt", machines)
            lost = machines.pop()
            for process in [lost.pid, *descendants(lost.pid)]:
                os.kill(process, signum)
            machines.append(agent())
        for machine in machines:
            try:
                text, _ = machine.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                return "not ended"
            if machine.returncode:
                return text.strip().splitlines()[-1][:200]
    return last(folder)


def _await(port: int) -> None:
    """Wait until something listens at a port of this machine."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
