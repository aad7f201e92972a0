"""Run a command, and write its time in seconds and its peak memory in bytes: python -I peak.py FILE COMMAND ...

On Linux a process's peak memory begins with that of the process that started it. So this file is run by itself, and
imports little.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    began = time.perf_counter()
    process = subprocess.Popen(sys.argv[2:])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024
    Path(sys.argv[1]).write_text(json.dumps({"seconds": seconds, "memory": usage.ru_maxrss * unit}))
    code = os.waitstatus_to_exitcode(status)
    sys.exit(code if code >= 0 else 128 - code)  # a signal's
