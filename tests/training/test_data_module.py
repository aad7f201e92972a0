from types import SimpleNamespace

import torch

from tests.data.ramps import Blocks, ramps
from wavenet.data import TrainingSegments, add_features
from wavenet.training import SegmentData


def test_a_margin_reaches_the_batches(tmp_path):
    corpus = add_features(ramps(tmp_path), [Blocks()], progress=False)
    data = SegmentData(corpus, corpus, 100, 64, batch_size=2, seed=5, margin=40)
    cpu = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(global_step=3, accumulate_grad_batches=1, global_rank=0, world_size=1, strategy=cpu)
    batch = next(iter(data.train_dataloader()))
    expected = TrainingSegments(corpus, 100, 64, seed=5, margin=40)[6]
    assert torch.equal(batch["waveform"][0], expected["waveform"])
    assert torch.equal(batch["conditions"]["blocks"][0], expected["conditions"]["blocks"])
    assert len(expected["waveform"]) == 240
    whole = next(iter(data.val_dataloader()))["conditions"]["blocks"]
    assert torch.equal(whole, corpus.conditions(0)["blocks"])
