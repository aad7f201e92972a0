"""Processes with other recordings or settings than the first are named before the first step."""

import subprocess
import sys

import pytest

from tests.data.ramps import ramps
from wavenet.data import Part
from wavenet.data.mixed import join
from wavenet.training.agreement import recordings_of

pytestmark = pytest.mark.slow
CODE = """
import sys
import torch.distributed as dist
from wavenet.training.agreement import check_same_recordings, check_same_settings
rank, place = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
same = [(f"june/{n}.wav", 8000, "{}") for n in range(12)]
settings = {"batch_size": 2, "model": {"num_cycles": 2}}
check_same_recordings("training", same)
check_same_settings(settings)
for name, others in {
    "a file more": [*same, ("zoe/0.wav", 9, "{}")],
    "another length": [*same[:3], ("june/3.wav", 8001, "{}"), *same[4:]],
    "another speaker": [*same[:11], ("june/11.wav", 8000, '{"speaker": "ann"}')],
    "another order": same[::-1],
}.items():
    try:
        check_same_recordings("training", others if rank else same)
    except ValueError as error:
        print(name, error)
try:
    check_same_settings(settings | ({"model": {"num_cycles": 3}} if rank else {}))
except ValueError as error:
    print("settings", error)
dist.barrier()
dist.destroy_process_group()
"""
PARTS = "processes 0 and 1 have different recordings for training"
EXPECTED = [
    f"a file more {PARTS}: 12 and 13, the first that differs is 'zoe/0.wav'",
    f"another length {PARTS}: 12 and 12, the first that differs is 'june/3.wav'",
    f"another speaker {PARTS}: 12 and 12, the first that differs is 'june/11.wav'",
    f"another order {PARTS}: 12 and 12, the first that differs is 'june/0.wav'",
    "settings processes 0 and 1 have different settings: model.num_cycles is 2 and 3; start all with the same command",
]


def test_a_mix_consists_of_what_its_parts_do(tmp_path):
    parts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        parts.append(Part(name, ramps(tmp_path / name, (50, 300)), None, {}))
    found = recordings_of(join(parts))
    assert [name for name, *_ in found] == ["a/0", "a/1", "b/0", "b/1"]
    assert [rest for _, *rest in found] == [rest for part in parts for _, *rest in recordings_of(part.corpus)]


def test_two_processes_say_what_differs(tmp_path):
    command = [sys.executable, "-c", CODE]
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    for process in processes:
        printed = process.communicate(timeout=120)[0]
        assert process.returncode == 0
        lines = [line.split("; give all")[0] for line in printed.strip().splitlines()]
        assert lines == EXPECTED
