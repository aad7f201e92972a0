from itertools import islice
from types import SimpleNamespace

import pytest
import torch

from tests.data.ramps import Blocks, ramps
from wavenet.data import TrainingSegments, add_features
from wavenet.training import SegmentData


def trainer(global_step=0, accumulated=1, rank=0, world=1):
    cpu = SimpleNamespace(root_device=torch.device("cpu"))
    return SimpleNamespace(
        global_step=global_step, accumulate_grad_batches=accumulated, global_rank=rank, world_size=world,
        strategy=cpu, training=True,
    )  # fmt: skip


def segments_of(corpus, steps, world, batch_size, accumulated, state=None, step=0):
    """Return the segments that all processes take in some steps, and the state that a checkpoint then keeps."""
    used, kept = [], None
    for rank in range(world):
        data = SegmentData(corpus, corpus, 100, 64, batch_size, seed=5)
        data.trainer = trainer(step, accumulated, rank, world)
        if state is not None:
            data.load_state_dict(state)
        for batch in islice(data.train_dataloader(), steps * accumulated):
            used += data.on_before_batch_transfer(batch, 0)["segment"].tolist()
        assert kept in (None, data.state_dict())  # the same in every process
        kept = data.state_dict()
    return used, kept


@pytest.mark.parametrize("then", [(2, 3, 2), (1, 3, 2), (8, 3, 2), (4, 5, 2), (4, 3, 1), (3, 2, 5)])
def test_a_resumed_run_takes_every_segment_once(tmp_path, then):
    """Whatever its number of processes, batch size and accumulation are, before and after."""
    corpus = ramps(tmp_path)
    first, state = segments_of(corpus, 5, 4, 3, 2)
    second, state = segments_of(corpus, 3, *then, state, step=5)
    third, _ = segments_of(corpus, 2, 4, 3, 2, state, step=8)
    used = sorted(first + second + third)
    assert used == list(range(len(used)))


def test_a_margin_reaches_the_batches(tmp_path):
    corpus = add_features(ramps(tmp_path), [Blocks()], progress=False)
    data = SegmentData(corpus, corpus, 100, 64, batch_size=2, seed=5, margin=40)
    data.trainer = trainer(global_step=3)
    batch = next(iter(data.train_dataloader()))
    expected = TrainingSegments(corpus, 100, 64, seed=5, margin=40)[6]
    assert torch.equal(batch["waveform"][0], expected["waveform"])
    assert torch.equal(batch["conditions"]["blocks"][0], expected["conditions"]["blocks"])
    assert len(expected["waveform"]) == 240
    whole = next(iter(data.val_dataloader()))["conditions"]["blocks"]
    assert torch.equal(whole, corpus.conditions(0)["blocks"])
