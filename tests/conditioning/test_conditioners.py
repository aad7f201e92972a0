"""The contract of conditioners, held by every one that configs/ names."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tests.conftest import ROOT
from wavenet.conditioning import CategoricalEmbedding

FILES = sorted((ROOT / "configs" / "model" / "conditioners").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_configured_conditioners_return_their_channels(file):
    cfg = OmegaConf.create({"model": {"condition_channels": 5, "conditioners": OmegaConf.load(file)}})
    for name, conditioner in cfg.model.conditioners.items():
        if "categories" in conditioner:
            conditioner.categories = ["ann", "bob"]
        built = instantiate(conditioner, _convert_="all")
        out = built({name: ["bob", "ann", "bob"]}, 3)
        assert (out.shape[0], out.shape[1]) == (3, built.condition_channels)
        assert built.condition_channels == 5
        assert torch.equal(out[0], out[2])
        assert not torch.equal(out[0], out[1])


def test_one_name_serves_the_whole_batch():
    speakers = CategoricalEmbedding("speaker", ["ann", "bob"], 4)
    assert torch.equal(speakers({"speaker": "bob"}, 2), speakers({"speaker": ["bob", "bob"]}, 2))


def test_unknown_and_missing_names_list_the_known():
    speakers = CategoricalEmbedding("speaker", ["ann", "bob"], 4)
    with pytest.raises(ValueError, match="unknown speaker 'eve'; the model knows ann, bob"):
        speakers({"speaker": "eve"}, 1)
    with pytest.raises(ValueError, match="needs a speaker: give speaker=NAME, one of ann, bob"):
        speakers({}, 1)
    with pytest.raises(ValueError, match="3 values of speaker were given for a batch of 2"):
        speakers({"speaker": ["ann"] * 3}, 2)


def test_wrong_categories_are_named():
    with pytest.raises(ValueError, match="categories of 'speaker' is empty"):
        CategoricalEmbedding("speaker", [], 4)
    with pytest.raises(ValueError, match=r"holds \['ann'\] more than once"):
        CategoricalEmbedding("speaker", ["ann", "bob", "ann"], 4)
