"""The short version of `python -m tests.reliability.load`, and that it would see what it looks for."""

import pytest
import torch

from tests.reliability import load
from tests.reliability.models import make

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("way", load.WAYS)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_streams_at_once_make_what_each_makes_alone(way, backend):
    model = make("vocoder", tiny=True)
    cases = [load.Case(number, 150 if backend == "cpu" else 50, backend) for number in range(16)]
    expected = load.alone(model, cases)
    assert load.WAYS[way](model, cases) == expected
    assert len(set(expected)) == len(cases)


def test_processes_at_once_make_what_each_makes_alone():
    cases = [load.Case(number, 150) for number in range(4)]
    made = [digests for digests, _ in load.in_processes(4, cases, tiny=True, delay=10)]
    model = make("mu-law", tiny=True)
    assert made == [load.alone(model, load.of_weights(cases, k)) for k in range(4)]


def test_streams_leave_nothing_behind():
    model = make("mu-law", tiny=True)
    streams, threads, _ = load.left_behind(model, [load.Case(number, 150) for number in range(8)])
    assert (streams, threads) == (0, 0)


def test_a_stream_that_is_kept_is_seen(monkeypatch):
    kept = []
    begin = load.Case.stream

    def keep(case, model):
        kept.append(begin(case, model))
        return kept[-1]

    monkeypatch.setattr(load.Case, "stream", keep)
    assert load.left_behind(make("mu-law", tiny=True), [load.Case(0, 150)], rounds=2)[0] == 2


def test_one_other_bit_is_seen():
    audio = torch.rand(1, 10)
    other = audio.clone()
    other[0, 5] = torch.nextafter(other[0, 5], torch.tensor(2.0))
    assert load.digest([audio]) != load.digest([other])
    assert load.digest(audio.split(3, dim=1)) == load.digest([audio])
