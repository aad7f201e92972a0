"""Values of names, paths and text on the command line arrive as typed; Hydra's grammar holds for all others."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from tests.configured import CONFIGS
from wavenet.cli.quoting import quoted

AS_TYPED = [
    "1_2", "1e5", "nan", "true", "12", "0x10", "Zoë", "日本", "take (1)", "x[1]", "[x", "a=b", "# ! & ; '",
    '"', "a'b\\", "\\", "{a: b}", "a,b", "H/${now:%Y}", "${oc.env:HOME}", r"\${x}", "${", "???", "a: b", "a\nb", " a ",
    "*", "$x", "@",
]  # fmt: skip


def composed(command, *arguments):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(command, quoted(command, arguments))


def settings(command, *arguments):
    return OmegaConf.to_container(composed(command, *arguments), resolve=True)


@pytest.mark.parametrize("text", AS_TYPED)
def test_text_arrives_as_typed(text):
    cfg = settings("generate", f"speaker={text}", f"checkpoint={text}", f"prompt={text}")
    assert (cfg["speaker"], cfg["checkpoint"], cfg["prompt"]) == (text, text, text)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("speaker=null", None),
        ('speaker="null"', "null"),
        ('speaker="1_2"', "1_2"),
        ("speaker='1_2'", "1_2"),
        ("speaker=[1_2,bob, 'Smith, John']", ["1_2", "bob", "Smith, John"]),
        ("conditions={language: 1_2, speaker: [1e5,b]}", {"language": "1_2", "speaker": ["1e5", "b"]}),
        ("seconds=[1,2.5]", [1, 2.5]),
        ("seed=1_2", 12),
        ("++seed=5", 5),
        ("top_k=${num}", 1),
        ("output=${speaker}.wav", "None.wav"),
    ],
)
def test_values_of_other_kinds_are_parsed(argument, value):
    name = argument.lstrip("+").partition("=")[0]
    assert settings("generate", "checkpoint=r", argument)[name] == value


def test_settings_of_groups_and_a_path_in_the_home_folder():
    cfg = settings("train", "dataset=folder", "dataset.root=~/take (1)", "experiment=vocoder", "dataset.licence=1_2")
    assert cfg["dataset"]["root"] == str(Path.home() / "take (1)") and cfg["dataset"]["licence"] == "1_2"
    cfg = composed("train", "run_dir=r/${seed}", "logger.version=3", "model.conditioners.speaker.categories=[1_2,b]")
    assert cfg.run_dir == "r/0" and cfg.logger.version == 3
    assert cfg.model.conditioners.speaker.categories == ["1_2", "b"]
    assert settings("evaluate", "checkpoint=[1_2,b (1)]")["checkpoint"] == ["1_2", "b (1)"]


def test_settings_of_a_part_of_a_mix_are_those_of_its_dataset():
    given = ["dataset=mix", "dataset/parts=[folder]", "dataset.weights={folder: 2.5}"]
    cfg = settings("train", *given, "dataset.parts.folder.root=~/take (1)", "dataset.parts.folder.licence=1_2")
    assert cfg["dataset"]["parts"]["folder"]["root"] == str(Path.home() / "take (1)")
    assert cfg["dataset"]["parts"]["folder"]["licence"] == "1_2" and cfg["dataset"]["weights"] == {"folder": 2.5}


def test_commas_separate_the_values_of_a_sweep():
    sweep = ["-m", "speaker=1_2,Zoë,null", "seed=1,2", "prompt=glob(*)", "~top_k", "a@b=c"]
    assert quoted("generate", sweep) == ["-m", "speaker='1_2','Zoë',null", *sweep[2:]]
