"""The command that installs an extra is right for how the package was installed."""

import os
import re
import shlex
import tomllib

import pytest

from tests.conftest import ROOT
from wavenet import package_data
from wavenet.extras import install_command

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A function that makes a checkout of that name, which the package is then part of."""

    def make(name):
        folder = tmp_path / name
        (folder / "wavenet").mkdir(parents=True)
        monkeypatch.setattr(package_data, "_PACKAGE", folder / "wavenet")
        return folder

    return make


def test_inside_of_a_checkout(checkout, monkeypatch):
    monkeypatch.chdir(checkout("waves"))
    assert install_command("hub") == 'pip install -e ".[hub]"'


def test_outside_of_a_checkout(checkout, in_tmp):
    folder = checkout("waves")
    assert install_command("hub") == f'pip install -e "{folder}[hub]"'


@pytest.mark.parametrize("name", ["my waves [2]", "it's", "$HOME", 'so "called"', "back`tick", "back\\slash", "wow!"])
def test_the_shell_takes_the_folder_as_it_is(checkout, in_tmp, name):
    folder = checkout(name)
    assert shlex.split(install_command("hub"))[-1] == f"{folder}[hub]"
    assert os.system(f"test {shlex.quote(f'{folder}[hub]')} = {install_command('hub').split(maxsplit=3)[-1]}") == 0


def test_a_working_directory_that_was_deleted(checkout, tmp_path, monkeypatch):
    folder = checkout("waves")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert install_command("hub") == f'pip install -e "{folder}[hub]"'


def test_an_installed_wheel(checkout, monkeypatch):
    folder = checkout("site-packages")
    (folder / "wavenet" / "share").mkdir()
    monkeypatch.chdir(folder)
    assert install_command("hub") == 'pip install "wavenet-audio[hub]"'


def test_this_package_is_part_of_a_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert install_command("hub") == 'pip install -e ".[hub]"'


def test_the_extras_that_messages_name_are_there():
    sources = [path.read_text() for name in ("wavenet", "scripts") for path in (ROOT / name).rglob("*.py")]
    named = set(re.findall(r"""install_command\(["'](\w+)["']\)""", "".join(sources)))
    assert named >= {"decode", "demo", "docs", "hub", "onnx", "pitch", "ray", "report", "shards", "wandb"}
    assert named <= EXTRAS.keys()


def test_the_extras_that_texts_name_are_there():
    named = set()
    guides = [path for name in ("guide", "tutorial") for path in (ROOT / "data" / name).glob("*.md")]
    for path in (*ROOT.glob("*.md"), *guides, *(ROOT / "configs").rglob("*.yaml")):
        text = path.read_text()
        assert "wavenet[" not in text, path  # PyPI's, which is another project
        for names in re.findall(r'pip install -e "\.\[([\w,]+)\]"|the extra `(\w+)`', text):
            named |= set("".join(names).split(","))
    assert named == EXTRAS.keys()
