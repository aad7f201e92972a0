"""The short version of `python -m tests.reliability.long_generation`, and that it would see what it looks for."""

import mmap

import pytest

from tests.reliability import long_generation
from tests.reliability.models import KINDS, make
from wavenet.generation.cpu import CPUBackend
from wavenet.model import State

pytestmark = pytest.mark.slow


def measured(kind: str, backend: str = "cpu", samples: int = 1200) -> long_generation.Result:
    return long_generation.measure(
        make(kind, tiny=True), samples, backend, checks=4, chunk=samples // 12, compared=samples // 24
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_stream_stays_what_a_parallel_forward_makes_of_its_last_samples(kind, backend):
    result = measured(kind, backend)
    result.memory = [0] * 12  # the tests before this one left holes in it; the long version looks
    assert result.failures() == []
    assert [moment.position for moment in result.moments] == [200, 500, 800, 1100]


def test_a_state_that_drifts_is_seen(monkeypatch):
    run = CPUBackend.run

    def drifting(self, *given):
        made, after = run(self, *given)
        assert after.layers is not None
        return made, State(after.previous, [layer * (1 + 1e-3) for layer in after.layers])

    monkeypatch.setattr(CPUBackend, "run", drifting)
    failures = " ".join(measured("mu-law").failures())
    assert "nats from the parallel forward" in failures and "a state differs" in failures


def test_a_stream_that_keeps_what_it_made_is_seen(monkeypatch):
    kept, run = [], CPUBackend.run

    def keeping(self, *given):
        kept.append(mmap.mmap(-1, 2 * 2**20))  # for a chunk; what the allocator gives might be memory freed before
        kept[-1].write(bytes(2 * 2**20))
        return run(self, *given)

    monkeypatch.setattr(CPUBackend, "run", keeping)
    assert any(failure.startswith("memory grew by") for failure in measured("mu-law").failures())
