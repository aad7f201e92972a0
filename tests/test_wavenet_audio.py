"""The command notices that another `wavenet` is imported, or lies among our files, before it imports anything of it."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module

import pytest
import wavenet_audio

import wavenet
from tests.conftest import ROOT

LAUNCHER = ROOT / "scripts" / "launcher"
OTHER = {"Name": "wavenet", "Version": "0.1.2", "Summary": "An implementation of WaveNet for TensorFlow."}
OLD = {"Name": "wavenet", "Version": "0.1.0", "Summary": "Train WaveNet on raw audio from Hydra configs."}  # as it was
UNINSTALL = "run pip uninstall wavenet wavenet-audio, then "
AGAIN = UNINSTALL + "install wavenet-audio again"


@pytest.fixture
def ours(tmp_path):
    """A function that puts this package into a folder, as a wheel or a checkout; its command prints "ours"."""

    def make(name, wheel):
        folder = tmp_path / name
        (folder / "wavenet" / "cli").mkdir(parents=True)
        (folder / "wavenet" / "__init__.py").touch()
        (folder / "wavenet" / "cli" / "__init__.py").write_text("def main():\n    print('ours')\n")
        if wheel:
            (folder / "wavenet" / "share").mkdir()
        place = folder if wheel else folder / "scripts" / "launcher"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(LAUNCHER / "wavenet_audio.py", place)
        return folder

    return make


def install(folder, metadata, editable=None):
    """Put a distribution's metadata into a folder, and its package if it is not an editable one of another folder."""
    info = folder / f"wavenet-{metadata['Version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("".join(f"{name}: {value}\n" for name, value in metadata.items()))
    if editable is not None:
        (info / "direct_url.json").write_text(json.dumps({"url": editable.as_uri(), "dir_info": {"editable": True}}))
        return
    (folder / "wavenet").mkdir(exist_ok=True)
    (folder / "wavenet" / "__init__.py").write_text("import tensorflow\n")


def command(*folders):
    """Run the command with these folders on the path, and without this environment's packages."""
    code = "import wavenet_audio; wavenet_audio.main()"
    path = [place for folder in folders for place in (folder, folder / "scripts" / "launcher") if place.is_dir()]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run([sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True, cwd="/")


def refused(*folders):
    """The line with which it ends."""
    ended = command(*folders)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    (line,) = ended.stderr.splitlines()
    return line.removeprefix("wavenet: ")


@pytest.mark.parametrize("wheel", [False, True])
def test_alone_it_runs(ours, wheel):
    assert command(ours("place", wheel)).stdout == "ours\n"


@pytest.mark.parametrize("installed", [OTHER, OLD])
def test_another_distributions_files_among_those_of_a_wheel(ours, installed):
    folder = ours("site-packages", wheel=True)
    install(folder, installed)
    named = f"the distribution wavenet {installed['Version']} ({installed['Summary']})"
    assert refused(folder) == (
        f"{named} is installed, too, and its files are among those of this package in {folder}/wavenet; {AGAIN}"
    )


@pytest.mark.parametrize("installed", [OTHER, OLD])
def test_another_distribution_before_a_checkout(ours, tmp_path, installed):
    checkout, folder = ours("checkout", wheel=False), tmp_path / "site-packages"
    install(folder, installed)
    named = f"the distribution wavenet {installed['Version']} ({installed['Summary']})"
    assert refused(folder, checkout) == (
        f"{folder}/wavenet is imported in place of {checkout}/wavenet, and {named} is installed, too; {UNINSTALL}"
        f'pip install -e "{checkout}"'
    )


def test_an_older_checkout_before_a_newer_one(ours, tmp_path):
    older, newer, folder = ours("older", wheel=False), ours("newer", wheel=False), tmp_path / "site-packages"
    shutil.rmtree(older / "scripts")
    install(folder, OLD, editable=older)
    line, named = refused(folder, older, newer), f"the distribution wavenet 0.1.0 ({OLD['Summary']})"
    assert line.startswith(f"{older}/wavenet is imported in place of {newer}/wavenet, and {named} is installed, too; ")
    assert line.endswith(f'; {UNINSTALL}pip install -e "{newer}"')


def test_a_checkout_that_is_still_installed_under_its_old_name(ours, tmp_path):
    checkout, folder = ours("checkout", wheel=False), tmp_path / "site-packages"
    install(folder, OLD, editable=checkout)
    assert command(folder, checkout).stdout == "ours\n"


def test_another_distribution_that_is_not_imported(ours, tmp_path):
    install(tmp_path / "site-packages", OTHER)
    assert command(ours("checkout", wheel=False), tmp_path / "site-packages").stdout == "ours\n"


def test_a_folder_on_the_path(ours, tmp_path):
    checkout, other = ours("checkout", wheel=False), tmp_path / "other"
    (other / "wavenet").mkdir(parents=True)
    assert command(other, checkout).stdout == "ours\n"  # any folder; Python looks for a package first
    (other / "wavenet" / "__init__.py").touch()
    assert refused(other, checkout) == (
        f"{other}/wavenet is imported in place of {checkout}/wavenet; rename it, or take its folder from PYTHONPATH"
    )


@pytest.mark.parametrize("left", [True, False])
def test_after_the_other_one_was_uninstalled(ours, left):
    """With its __init__.py, which was ours, or with all files that both had."""
    folder = ours("site-packages", wheel=True)
    (folder / "wavenet" / "__init__.py").unlink()
    if not left:
        shutil.rmtree(folder / "wavenet" / "cli")
    assert refused(folder) == (
        f"{folder}/wavenet has no __init__.py, as after the uninstallation of another package of this name; {AGAIN}"
    )


def test_it_is_the_installed_command_and_in_the_archives():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    targets = settings["tool"]["hatch"]["build"]["targets"]
    assert settings["project"]["scripts"] == {"wavenet": "wavenet_audio:main"}
    wheel = targets["wheel"]
    assert "scripts/launcher" in wheel["only-include"] and wheel["sources"]["scripts/launcher"] == ""
    assert "scripts/launcher" in wheel["dev-mode-dirs"] and "/scripts" in targets["sdist"]["include"]


def test_here_it_is_ours():
    code = "import wavenet_audio; wavenet_audio.main()"
    path = os.pathsep.join([str(ROOT), str(LAUNCHER)])
    environment = os.environ | {"PYTHONPATH": path}
    ended = subprocess.run([sys.executable, "-c", code, "--version"], env=environment, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == (f"wavenet {wavenet.__version__}\n", "")


def test_the_scripts_look_as_well(monkeypatch):
    called = []
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setattr(import_module("launcher.wavenet_audio"), "run", called.append)
    commands = ["train", "generate", "evaluate", "demo", "prepare", "push"]
    for name in commands:
        runpy.run_path(str(ROOT / "scripts" / f"{name}.py"), run_name="__main__")
    assert called == commands


def test_a_script_ends_where_the_command_does(monkeypatch, capsys):
    monkeypatch.setattr(wavenet_audio, "_PACKAGE", ROOT / "elsewhere" / "wavenet")
    with pytest.raises(SystemExit) as ended:
        wavenet_audio.run("train")
    assert ended.value.code == 2
    assert f"wavenet: {ROOT}/wavenet is imported in place of {ROOT}/elsewhere/wavenet" in capsys.readouterr().err
