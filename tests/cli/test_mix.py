"""A mix on the command line: trained, resumed to the same bits, evaluated, sampled, and prepared into shards."""

import json
import re
import shlex

import pytest
import torch

import wavenet
from tests.configured import composed
from tests.conftest import PROMPTS, TINY
from wavenet.checkpoint import describe
from wavenet.checkpoint.card import card
from wavenet.cli.trainer import _settings_of_all
from wavenet.data import prepare, split
from wavenet.data.folder import Folder

SPEAKERS = ["allison", "mine/carlo", "mine/june", "theirs/carlo", "theirs/june"]


@pytest.fixture
def mix(in_tmp, speech):
    """Settings of a mix with two folders, in which two names are the same, and three segments of four are of one."""
    for speaker in ("carlo", "june"):
        (in_tmp / "theirs" / speaker).mkdir(parents=True)
        for number in range(21, 24):
            name = f"{speaker}_{number:03d}.flac"
            (in_tmp / "theirs" / speaker / name).write_bytes((PROMPTS / speaker / name).read_bytes())
    settings = ["dataset=mix", "dataset.weights={mine: 1, theirs: 3}"]
    for name, root in (("mine", speech), ("theirs", "theirs")):
        part = f"dataset.parts.{name}"
        settings += [f"+dataset@{part}=folder", f"{part}.root={root}", f"{part}.speakers_from_folders=true"]
    return [*settings, "dataset.parts.theirs.licence=CC-BY-SA-3.0", "dataset.parts.theirs.attribution='Ann, 2020'"]


def weights(run):
    return torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]


def test_a_mix_is_trained_resumed_evaluated_and_sampled(run, in_tmp, speech, mix):
    common = [*TINY, *mix, "logger=none", "trainer.val_check_interval=2"]
    output = run("train", *common, "run_dir=whole", "trainer.max_steps=6")
    assert "data     mix of mine, theirs: 5 speaker(s), " in output
    assert re.search(r"parts    mine [\d.]+ min, 25.0 % of the segments; theirs [\d.]+ min, 75.0 % of the seg", output)
    assert "speakers mine/carlo, theirs/carlo, mine/june, theirs/june: kept apart, as several parts have thes" in output
    run("train", *common, "run_dir=cut", "trainer.max_steps=3")
    run("train", "resume=cut", "trainer.max_steps=6")
    whole, cut = weights("whole"), weights("cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)

    held_out = {
        f"{name}/{utterance.id}"
        for name, root in (("mine", speech), ("theirs", "theirs"))
        for utterance in split(prepare(Folder(root, True), 8000, "cache", progress=False), 0.1)[1].utterances
    }
    model = wavenet.load("whole")
    assert list(model.conditioners["speaker"].categories) == SPEAKERS
    cheap = ["speed.seconds=0", "long_term.utterances=0", "sounds.seconds=0"]
    for settings in ([], [*mix, "preparation.cache_dir=cache"]):
        run("evaluate", "checkpoint=whole", *cheap, *settings)
        found = json.loads((in_tmp / "whole" / "evaluation.json").read_text())
        assert found["dataset"] == "mix of mine, theirs"
        assert found["bits_per_sample"].keys() == {*SPEAKERS, "all"}
        assert found["bits_per_sample"]["all"]["utterances"] == len(held_out) == 5
        each = [found["bits_per_sample"][speaker]["value"] for speaker in SPEAKERS]
        assert min(each) < found["bits_per_sample"]["all"]["value"] < max(each)
    run("generate", "checkpoint=whole", "speaker=theirs/june", "seconds=0.02")
    assert (in_tmp / "out.wav").is_file()

    parts = {part["name"]: part for part in model.metadata["data"]["parts"]}
    assert {name: part["share"] for name, part in parts.items()} == {"mine": 0.25, "theirs": 0.75}
    text = card(model)
    assert f"- theirs: {parts['theirs']['utterances']} utterances" in text and "75.0% of the training seg" in text
    assert "- CC-BY-SA-3.0: Ann, 2020" in text and "- unknown: the part mine" in text


def test_speakers_may_be_the_same_people(run, in_tmp, mix):
    output = run("train", *TINY, *mix, "logger=none", "run_dir=r", "dataset.same_speakers=true")
    assert "data     mix of mine, theirs: 3 speaker(s), " in output and "kept apart" not in output
    assert list(wavenet.load("r").conditioners["speaker"].categories) == ["allison", "carlo", "june"]


def test_each_part_is_prepared_into_shards(run, in_tmp, mix):
    """The command that is printed trains the same model."""
    sizes = [setting for setting in TINY if setting.startswith("model.")]
    output = run("prepare", *sizes, *mix, "output=prepared")
    assert {path.parent.name for path in (in_tmp / "prepared").rglob("corpus.json")} == {"mine", "theirs"}
    (line,) = re.findall(r"^train    wavenet train (.*)$", output, re.MULTILINE)
    for run_dir, settings in (("files", mix), ("shards", shlex.split(line))):
        run("train", *TINY, *settings, "logger=none", f"run_dir={run_dir}")
    files, shards = wavenet.load("files"), wavenet.load("shards")
    assert describe(files) == describe(shards)
    assert all(torch.equal(value, shards.state_dict()[name]) for name, value in files.state_dict().items())
    assert files.metadata["data"] == shards.metadata["data"]


def test_a_part_may_be_a_dataset_of_ones_own(run, in_tmp, speech):
    (in_tmp / "ownbirds.py").write_text(
        "from pathlib import Path\n"
        "from wavenet.data import Scan, Utterance\n"
        "class Birds:\n"
        "    name = 'birds'\n"
        "    def __init__(self, root):\n"
        "        self.root = Path(root)\n"
        "    def scan(self):\n"
        "        return Scan([Utterance(f.stem, f, {'speaker': 'wren'}) for f in sorted(self.root.rglob('*.flac'))])\n"
    )
    (in_tmp / "conf" / "dataset").mkdir(parents=True)
    (in_tmp / "conf" / "dataset" / "birds.yaml").write_text(f"_target_: ownbirds.Birds\nroot: {speech}\n")
    own = ["dataset=mix", "dataset/parts=[prompts]", "+dataset@dataset.parts.birds=birds"]
    output = run("train", "--config-dir", "conf", *TINY, *own, "logger=none", "run_dir=r")
    assert "data     mix of birds, prompts: 5 speaker(s), " in output
    with pytest.raises(AssertionError, match=r"exit 2[\s\S]*ownbirds[\s\S]*trust=\[ownbirds\]"):
        run("train", "resume=r", "trainer.max_steps=3")
    assert "done     3 steps" in run("train", "resume=r", "trust=[ownbirds]", "trainer.max_steps=3")


def test_roots_of_parts_may_differ_between_nodes(mix):
    settings = _settings_of_all(composed(*mix))
    assert settings["dataset"]["parts"].keys() == {"mine", "theirs"}
    assert all("root" not in part for part in settings["dataset"]["parts"].values())
    assert settings["dataset"]["weights"] == {"mine": 1, "theirs": 3}
