"""The progress bar: a terminal of 80 columns shows all of it, and at the end the last validation."""

import os
import re
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from wavenet.training import TrainingProgress

pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")


@contextmanager
def terminal():
    """A terminal of 80 columns in place of standard error; returns a function that reads what it has shown."""
    shown, written = pty.openpty()
    termios.tcsetwinsize(written, (24, 80))
    with (
        os.fdopen(written, "w", encoding="utf-8") as file,
        os.fdopen(shown, "rb", buffering=0) as screen,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setattr(sys, "stderr", file)
        yield lambda: file.flush() or screen.read(100_000).decode()


def test_the_line_fits_80_columns_and_ends_with_the_last_validation():
    with terminal() as read:
        progress = TrainingProgress(SimpleNamespace(samples_per_second=65_500.0))
        trainer = SimpleNamespace(max_steps=12_000, global_step=0, sanity_checking=False, callback_metrics={})
        progress.on_train_start(trainer, None)
        trainer.callback_metrics = {"train/bits_per_sample": 3.888}
        for step, held_out in ((4000, 4.076), (12_000, 3.818)):
            trainer.global_step = step
            progress.on_train_batch_end(trainer, None, None, None, step)
            trainer.callback_metrics["validation/bits_per_sample"] = held_out
            progress.on_validation_end(trainer, None)
        progress.on_train_end(trainer, None)
        printed = read()
    lines = re.split(r"[\r\n]+", printed.strip())
    assert max(map(len, lines)) <= 80
    assert "step 12000: 3.8180 bits per sample on held-out utterances" in lines
    assert lines[-1].startswith("100%|████")
    assert lines[-1].endswith("| 12000/12000 [00:00 left, 3.888 bits, held out 3.818, 66 k samples/s]")
