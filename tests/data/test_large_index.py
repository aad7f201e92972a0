"""Corpora of millions of utterances are opened in little memory: most of the index is shared in the system's cache."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytest.importorskip("pyarrow")
OPEN = """
import re, resource, sys
from pathlib import Path
from scripts.benchmarks.opening import first_segment

status = Path("/proc/self/status").read_text()
now = 1024 * int(re.search(r"VmData:\\s+(\\d+)", status)[1])
resource.setrlimit(resource.RLIMIT_DATA, (now + int(sys.argv[2]),) * 2)
segments = first_segment("shards", Path(sys.argv[1]))
for number in range(1000):
    utterance, start, stop = segments.locate(number)
    assert 0 <= start < stop <= utterance.num_samples, utterance
print(len(segments._corpus.utterances))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
@pytest.mark.parametrize(("utterances", "megabytes"), [(1_000_000, 100), (10_000_000, 400)])
def test_an_index_is_opened_in_little_memory(tmp_path, utterances, megabytes):
    """Under a limit of what a process allocates for itself; a tenth of it is too little, so it does hold."""
    from scripts.benchmarks.opening import write_index

    write_index(tmp_path / "shards", utterances)
    command = [sys.executable, "-c", OPEN, str(tmp_path)]
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}  # Arrow's own reserves addresses ahead of use
    options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True}
    opened = subprocess.run([*command, str(10**6 * megabytes)], **options)
    assert opened.returncode == 0, opened.stderr
    assert int(opened.stdout) == utterances - utterances // 100
    refused = subprocess.run([*command, str(10**6 * megabytes // 10)], **options)
    assert refused.returncode != 0 and not refused.stdout
