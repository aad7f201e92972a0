"""An interrupt of a notebook's kernel ends `wavenet.train`, and the kernel goes on."""

import os

import pytest
from jupyter_client.manager import start_new_kernel

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

TRAIN = """
import wavenet
from wavenet.distributions import MuLawCategorical
model = wavenet.WaveNet(MuLawCategorical(16, 5), 2000, residual_channels=4, gate_channels=4, dilation_cycle=3)
wavenet.train(model, {folder!r}, "run", steps=100_000, segment_length=400, validate_every=20, logger="none",
              device="cpu", settings=["samples.seconds=0", "trainer.limit_val_batches=1"])
"""


@pytest.fixture
def kernel(in_tmp, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), os.getenv("PYTHONPATH", ""))))
    manager, client = start_new_kernel(cwd=str(in_tmp))
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def shown(client, request, until=None):
    """What a cell prints and raises, until this is in it; else until it ends."""
    text = ""
    while until is None or until not in text:
        message = client.get_iopub_msg(timeout=200)
        content = message["content"]
        if message["parent_header"].get("msg_id") != request:
            continue
        if content.get("execution_state") == "idle":
            assert until is None, text
            return text
        text += content.get("text", "") + ": ".join(content.get(part, "") for part in ("ename", "evalue"))
    return text


@pytest.mark.parametrize("times", [1, 2])
def test_interrupts_end_the_call_alone(kernel, speech, times):
    manager, client = kernel
    request = client.execute(TRAIN.format(folder=str(speech)))
    shown(client, request, "step 40: ")
    for _ in range(times):
        manager.interrupt_kernel()
    text = shown(client, request)
    assert "KeyboardInterrupt" in text
    if times == 1:
        assert "resume=True goes on, with run_dir='run'" in text
    request = client.execute("print('still here,', model.training or model.metadata['training']['steps'] > 30)")
    assert "still here, True" in shown(client, request)
