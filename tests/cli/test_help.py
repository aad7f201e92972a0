"""`wavenet COMMAND --help`: every option and setting is there, says what it is for, and fits the terminal."""

import subprocess
import sys

import pytest
import yaml

from tests.configured import CONFIGS, choices
from tests.conftest import ROOT
from wavenet.cli.config_files import comments, summary
from wavenet.cli.help import help_text, show_help
from wavenet.cli.settings import settings_of

COMMANDS = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
GROUPS = sorted({str(path.parent.relative_to(CONFIGS)) for path in CONFIGS.glob("*/**/*.yaml")} - {"experiment"})
PARTS = "dataset/parts"  # of dataset=mix
EVERY_OPTION = [  # in as many compositions as the largest group has options
    [f"{group}={options[number % len(options)]}" for group in GROUPS if group != PARTS for options in [choices(group)]]
    for number in range(max(len(choices(group)) for group in GROUPS))
]
CASES = [*((command, []) for command in COMMANDS), *(("train", options) for options in EVERY_OPTION)]
CASES += [("train", ["dataset=mix", f"{PARTS}=[prompts,folder]"])]


@pytest.fixture(autouse=True)
def _of_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def keys_in(settings, before=""):
    """Return the keys of a YAML file's settings, of mappings too."""
    for key, value in settings.items():
        yield f"{before}{key}"
        if isinstance(value, dict):
            yield from keys_in(value, f"{before}{key}.")


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_comments_are_found_for_the_keys_of_every_file(path):
    text = path.read_text()
    found = [key for key in comments(text) if not key.startswith("defaults.")]
    assert found == list(keys_in(yaml.safe_load(text)))
    assert summary(text).endswith(".")


@pytest.mark.parametrize(("command", "options"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_every_group_option_and_setting_says_what_it_is_for(command, options):
    found = settings_of(command, options)
    assert [group.name for group in found.groups if not group.comment] == []
    assert [name for group in found.groups for name, text in group.options.items() if not text] == []
    assert [setting.key for setting in found.settings if not setting.comment.text] == []
    assert not [setting.key for setting in found.settings if "_target_" in setting.key or "hydra" in setting.key]
    text = help_text(command, options)
    assert [line for line in text.splitlines() if len(line) > 80 or line != line.rstrip()] == []
    assert all(f"\n  {setting.key}" in text for setting in found.settings)


def test_a_mix_is_the_chosen_dataset():
    text = help_text("train", ["dataset=mix", f"{PARTS}=[prompts,folder]"])
    assert text.count("  mix (chosen) ") == text.count("  prompts (chosen) ") == text.count("  folder (chosen) ") == 1


def test_the_parts_of_the_text():
    lines = help_text("train", ["--help"]).splitlines()
    assert lines[0] == "usage: wavenet train [GROUP=OPTION ...] [SETTING=VALUE ...]"
    assert "  wavenet train resume=runs/NAME                  # continues that run" in lines
    assert "  small (default)               Learns babbling speech on two CPU cores within" in lines
    assert lines[lines.index("Settings") + 2].startswith("  seed=0                        seed of the weights, ")
    assert lines.index("Settings of dataset=prompts") < lines.index("Settings of model/conditioners=speaker")
    at = lines.index("  preparation:                  audio preparation, done once and cached")
    assert lines[at - 1] == ""  # as in the YAML
    assert lines[at + 1] == "  preparation.cache_dir=${oc.env:WAVENET_CACHE,data/cache}"
    required = help_text("push", []).splitlines()
    assert required[0] == "usage: wavenet push [SETTING=VALUE ...]"
    assert "  repo=VALUE                    required: repository on the Hub, owner/name;" in required


def test_chosen_options_and_values_are_shown():
    text = help_text("train", ["dataset=folder", "experiment=vocoder", "dataset.root=x", "--help"])
    assert "\n  dataset.root=x " in text and "\n  dataset.speakers_from_folders=false\n" in text
    assert "\n  folder (chosen) " in text and "dataset.mic" not in text
    assert "\nSettings of model/conditioners=mel\n" in text and "model.conditioners.speaker" not in text
    assert "\n  model.condition_channels=32 " in text  # the experiment's
    assert "model.conditioners.mel.condition_channels" not in text  # which is that one
    swept = help_text("train", ["-m", "seed=1,2", "batch_size=7", "--help"])
    assert "\n  seed=0 " in swept and "\n  batch_size=7 " in swept


def test_prepare_leaves_out_what_only_experiments_need():
    found = settings_of("prepare", ["experiment=paper"])
    assert {group.name.split("/")[0] for group in found.groups} == {"dataset", "model", "experiment"}
    assert {setting.key.split(".")[0] for setting in found.settings} == {
        "output", "shards", "preparation", "dataset", "model",
    }  # fmt: skip


def test_configs_of_ones_own(in_tmp):
    (in_tmp / "conf" / "dataset").mkdir(parents=True)
    (in_tmp / "conf" / "dataset" / "mine.yaml").write_text(
        "# Birds.\n"
        "_target_: birds.Birds\n"
        "root: &root 'a # b'  # where they are\n"
        "again: *root\n"
        "nested: {deep: [1, {a: null}], '#': x}  # in one line\n"
        "text: |\n  # no comment\n  line\n"
        'odd: ""\n'
        "empty: {}\n"
        "1: 2\n"
        "last:\n  - x  # an item\n"
        "  # below\n"
    )
    (in_tmp / "conf" / "dataset" / "bytes.yaml").write_bytes(b"# \xff\n\xfe: 1\n")
    text = help_text("train", ["--config-dir", "conf", "dataset=mine"])
    assert "\n  mine (chosen)                 Birds.\n" in text and "\n  bytes " in text
    for line in (
        "dataset.root=a # b            where they are", "dataset.again=a # b",
        "dataset.nested:               in one line", "dataset.nested.deep=[1,{a: null}]", "dataset.nested.#=x",
        r"dataset.text=# no comment\nline\n", 'dataset.odd=""', "dataset.1=2", "dataset.last=[x]",
    ):  # fmt: skip
        assert f"\n  {line}\n" in text


def test_a_mistake_beside_help_is_explained_as_without_it(run, in_tmp):
    (in_tmp / "conf" / "dataset").mkdir(parents=True)
    (in_tmp / "conf" / "dataset" / "broken.yaml").write_text("root: [1\nmic: 2\n")
    for mistake in (["dataset=vctkk"], ["sed=3"], ["seed=["], ["--config-dir=conf", "dataset=broken"], ["-cd=nowhere"]):
        assert not show_help("train", [*mistake, "--help"])
        errors = []
        for words in (mistake, [*mistake, "--help"], ["-h", *mistake]):
            with pytest.raises(AssertionError, match=r"^exit 2\n") as error:
                run("train", *words)
            errors.append(str(error.value).split())
        assert errors[0] == errors[1] == errors[2]
        assert mistake[-1] != "dataset=broken" or {f'"{in_tmp}/conf/dataset/broken.yaml",', "line"} <= set(errors[0])
    assert "\n  dataset.root=take (1)         the folder; " in run(
        "train", "dataset=folder", "dataset.root=take (1)", "-h"
    )


@pytest.mark.parametrize("program", ["wavenet train", "scripts/train.py"])
def test_help_needs_no_torch(program):
    start = "from wavenet.cli import main; main()"
    if program.endswith(".py"):
        start = f"import runpy; sys.path.insert(0, {str(ROOT / 'scripts')!r}); "
        start += f"runpy.run_path({str(ROOT / program)!r}, run_name='__main__')"
    code = f"import sys; sys.argv = {[*program.split(), '--help']}; {start}; print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.startswith("usage: wavenet train ") and printed.endswith("\nFalse\n")
