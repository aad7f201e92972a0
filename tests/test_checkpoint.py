import json
import os
import pickle
import time
import zipfile

import pytest
import safetensors.torch
import torch

import wavenet
from wavenet.checkpoint import CheckpointError, build, describe


def edit(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def test_a_saved_model_comes_back_the_same(small, tmp_path):
    model = small(("ann", "bob"), kernel_size=3)
    folder = wavenet.save(model, tmp_path / "models" / "mine")
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors"]
    assert os.listdir(tmp_path / "models") == ["mine"]
    again = wavenet.load(folder)
    assert not again.training
    assert describe(again) == describe(model)
    x = torch.rand(1, 20)
    condition = model.condition({"speaker": "bob"}, 1)
    assert torch.equal(again(x, condition)[0], model(x, condition)[0])
    wavenet.save(small(("eve",)), folder)  # a saved model may be replaced
    assert wavenet.load(folder).conditioners["speaker"].categories == ["eve"]


def test_something_else_is_not_overwritten(small, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("two years")
    with pytest.raises(CheckpointError, match="thesis: exists and is not a saved model"):
        wavenet.save(small(), tmp_path / "thesis")
    assert os.listdir(tmp_path) == ["thesis"]


def test_description_is_plain_json_and_builds_the_same(small):
    config = json.loads(json.dumps(describe(small(("ann",)))))
    assert config["_target_"] == "wavenet.model.WaveNet"
    assert config["conditioners"]["speaker"]["categories"] == ["ann"]
    assert describe(build(config)) == config


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "logging.os.system",
        "torch.nn.Linear",
        "wavenet.checkpoint.os.system",
        "wavenet.model.Tensor",
        "wavenet.model.nn.Linear",
        "wavenet.nn.causal_conv.F",
        "wavenet.distributions.nothing.Here",
        "wavenet.data.vctk.VCTK",
        "wavenet..model.WaveNet",
        "../wavenet.model.WaveNet",
        None,
        7,
        ["os.system"],
    ],
)
def test_foreign_classes_are_refused(small, tmp_path, target):
    folder = wavenet.save(small(), tmp_path / "m")
    edit(folder, lambda c: c["model"]["distribution"].update(_target_=target))
    with pytest.raises(CheckpointError, match="not one of this package's own classes; refused"):
        wavenet.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model"].update(_args_=["x"]), "unexpected keyword argument '_args_'"),
        (lambda c: c["model"].update(_partial_=True), "describes a partial, not a WaveNet"),
        (lambda c: c["model"].update(residual_channels="${oc.env:HOME}"), r"residual_channels='\$\{oc.env:HOME\}';"),
        (lambda c: c["model"].pop("distribution"), "missing a required argument: 'distribution'"),
        (lambda c: c["model"].update(skip_channels=12), "weight .* the config wants"),
        (lambda c: c["model"].update(num_cycles=3), "names differ"),
        (lambda c: c["model"].update(residual_channels=10**12, gate_channels=10**6), "."),
        (lambda c: c.update(format_version=99), "format_version 1 or 2"),
        (lambda c: c.pop("model"), "format_version 1 or 2"),
        (lambda c: c.update(model=c["model"]["distribution"]), "describes a MuLawCategorical, not a WaveNet"),
    ],
)
def test_lying_configs_are_refused(small, tmp_path, change, message):
    folder = wavenet.save(small(), tmp_path / "m")
    edit(folder, change)
    with pytest.raises(CheckpointError, match=message):
        wavenet.load(folder)


def test_damaged_weights_are_refused(small, tmp_path):
    folder = wavenet.save(small(), tmp_path / "m")
    weights = folder / "model.safetensors"
    good = safetensors.torch.load_file(weights)
    bad = {name: torch.full_like(t, float("nan")) for name, t in good.items()}
    safetensors.torch.save_file(bad, weights)
    with pytest.raises(CheckpointError, match="holds NaN or infinite"):
        wavenet.load(folder)
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not readable"):
        wavenet.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: not readable as JSON"):
        wavenet.load(folder)


class Bomb:
    def __reduce__(self):
        return os.system, ("touch bomb-went-off",)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"wavenet": {}, "state_dict": {}, "callbacks": Bomb()}, "zip.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Bomb(), protocol=2))
    (tmp_path / "noise.ckpt").write_bytes(b"not a checkpoint at all")
    torch.save({"epoch": 1}, "other.ckpt")
    for name in ("zip", "plain", "noise"):
        with pytest.raises(CheckpointError, match=rf"{name}\.ckpt: not a checkpoint that can be loaded safely"):
            wavenet.load(f"{name}.ckpt")
    with pytest.raises(CheckpointError, match=r"other\.ckpt: not a checkpoint of this package"):
        wavenet.load("other.ckpt")
    assert not (tmp_path / "bomb-went-off").exists()


def training_checkpoint(model, path, **more):
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"wavenet": {"format_version": 2, "model": describe(model)}, "state_dict": state} | more, path)


@pytest.mark.parametrize(
    ("begin", "after_each", "end"), [(b"}(", b"N", b"u"), (b"ccollections\nOrderedDict\n](", b"N\x86", b"e\x85R")]
)
def test_keys_whose_hashes_collide_are_refused_before_they_are_hashed(small, tmp_path, begin, after_each, end):
    # multiples of 2^61 - 1 have one hash: to fill a dict with 100 000 of them takes 5 * 10^9 comparisons
    training_checkpoint(small(), tmp_path / "good.ckpt")
    keys = (b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") for k in range(1, 100_001))
    made = begin + b"".join(key + after_each for key in keys) + end
    with zipfile.ZipFile(tmp_path / "good.ckpt") as good, zipfile.ZipFile(tmp_path / "last.ckpt", "w") as bad:
        for name in good.namelist():
            data = good.read(name)
            bad.writestr(name, data[:-1] + b"X\x04\0\0\0more" + made + b"s." if name.endswith("data.pkl") else data)
    start = time.process_time()
    with pytest.raises(CheckpointError, match=r"last\.ckpt: .*(has numbers above|fills a dict in one call)"):
        wavenet.load(tmp_path / "last.ckpt")
    assert time.process_time() - start < 10


def test_a_flipped_bit_in_a_training_checkpoint_is_noticed(small, tmp_path):
    model, path = small(), tmp_path / "last.ckpt"
    training_checkpoint(model, path)
    assert describe(wavenet.load(path)) == describe(model)
    data = bytearray(path.read_bytes())
    data[data.index(model.head[1].weight.detach().numpy().tobytes()[:64]) + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: is damaged: the checksum of .*data/\d+ differs"):
        wavenet.load(path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (torch.zeros(1).expand(2**40), "claims a tensor of shape"),
        (torch.empty(2**40, device="meta"), "_rebuild_meta_tensor_no_storage.*neither plain data nor a tensor"),
        (torch.zeros(20 * 2**20), "bytes; a file of this kind has at most"),
        (bytearray(10), "neither plain data nor a tensor"),
        ({1, 2}, "neither plain data nor a tensor"),
        ("\x1b[31m", "control characters"),
    ],
)
def test_what_training_does_not_need_is_refused(small, tmp_path, more, message):
    training_checkpoint(small(), tmp_path / "last.ckpt", more=more)
    with pytest.raises(CheckpointError, match=message):
        wavenet.load(tmp_path / "last.ckpt")


def test_an_archive_with_anything_more_is_refused(small, tmp_path):
    path = tmp_path / "last.ckpt"
    for name, compression in (("last/code/x.py", 0), ("last/../x", 0), ("last/DATA.PKL", 0), ("last/data/99", 8)):
        training_checkpoint(small(), path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, bytes(1000), compression)
        with pytest.raises(CheckpointError, match="not a checkpoint that can be loaded safely"):
            wavenet.load(path)


def test_a_checkpoint_saved_under_any_name_is_loaded(small, tmp_path):
    path = tmp_path / "my best run.v2.ckpt"  # which is the name of the folder in the archive, too
    training_checkpoint(small(), path, more=[None, True, 1, 2.5, "x", (1, 2), {"a": torch.ones(3)}])
    assert wavenet.load(path).receptive_field == small().receptive_field


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(num_cycles=10**9), "has num_cycles=1000000000; it must be a whole number from 1 to 500"),
        (lambda m: m.update(num_cycles=400), "2400 layers in all stacks; there are weights for at most"),
        (lambda m: m.update(dilation_cycle=20, num_cycles=1, kernel_size=99), "receptive field of 1.*e.08 samples"),
        (lambda m: m.update(distribution=5), "has distribution=5; it takes no number"),
        (lambda m: m.update(bias={"a": 1}), "has bias={'a': 1}; it must be true or false"),
        (lambda m: m["conditioners"].update(speaker={"name": "../x"}), "a condition's name must not be a path"),
        (lambda m: m.update(conditioners=[{} for _ in range(99)]), "a model has at most 32"),
    ],
)
def test_useless_sizes_are_refused(small, tmp_path, change, message):
    folder = wavenet.save(small(("ann",), dilation_cycle=6, num_cycles=6), tmp_path / "m")
    edit(folder, lambda c: change(c["model"]))
    with pytest.raises(CheckpointError, match=message):
        wavenet.load(folder)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: no such checkpoint"):
        wavenet.load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"holds neither config\.json"):
        wavenet.load(tmp_path)
