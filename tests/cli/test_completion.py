"""Completion of command lines: what is offered, and the shells' scripts."""

import os
import shutil
import subprocess
import sys

import pytest

from wavenet.cli import COMMANDS
from wavenet.cli.completion import FILES, PATHS, candidates
from wavenet.cli.schema import PATH, SCHEMA
from wavenet.types import AnyOf, ListOf

DESCRIBED = {command: f"about {command}" for command in (*COMMANDS, "completion")}


def offered(line):
    return list(candidates(line.split(" "), DESCRIBED))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("t", ["train"]),
        ("ex", ["export"]),
        ("export ", ["onnx"]),
        ("import", ["import"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("nothing ", []),
        ("train --", ["--help", "--cfg", "--config-dir", "--hydra-help"]),
        ("train --cfg ", ["job", "hydra", "all"]),
        ("train --config-dir c", [FILES]),
        ("train da", ["dataset=", "dataset."]),
        ("train dataset=v", ["dataset=vctk"]),
        ("train model/dist", ["model/distribution="]),
        ("train model/conditioners=[mel,sp", ["model/conditioners=[mel,speaker"]),
        ("train 'model/conditioners=[mel,sp", ["model/conditioners=[mel,speaker"]),
        ("train dataset=vctk dataset.", ["dataset.root=", "dataset.mic=", "dataset.download="]),
        ("train dataset=folder dataset.root='a b' dataset.l", ["dataset.licence="]),  # three words for bash
        ("train dataset=folder dataset.root=(1) dataset.l", ["dataset.licence="]),
        ("train nonsense prep", ["preparation."]),
        ("train model.conditioners.", ["model.conditioners.speaker."]),
        ("train compile=", ["compile=true", "compile=false"]),
        ("train seed=", []),
        ("train run_dir=r", [FILES]),
        ("train dataset.root=", [FILES]),
        ("generate checkpoint=", [FILES]),
        ("export onnx o", ["output="]),
    ],
)
def test_what_is_offered(line, expected):
    assert offered(line) == expected


def test_all_that_can_begin_an_argument_is_offered_with_its_description():
    found = candidates(["train", ""], DESCRIBED)
    assert found["dataset="] == "the recordings to learn from"
    assert found["batch_size="] == "segments per step and process"
    assert {"model.", "preparation.", "experiment="} <= found.keys()
    assert not [each for each in found if "." in each.rstrip(".") or "hydra" in each]
    assert candidates([""], DESCRIBED)["export"] == "about export onnx"


def kinds(value_type):
    if isinstance(value_type, AnyOf | ListOf):
        return [each for part in getattr(value_type, "kinds", None) or [value_type.kind] for each in kinds(part)]
    return [value_type]


def test_files_are_offered_for_all_paths_and_nothing_else():
    types = {key: value_type for table in SCHEMA.values() for key, value_type in table.items()}
    assert {key.split(".")[-1] for key, value_type in types.items() if PATH in kinds(value_type)} == PATHS


@pytest.fixture
def shell(in_tmp, monkeypatch):
    """Return a function that runs lines in a shell that has `wavenet` and its completion."""
    program = in_tmp / "bin" / "wavenet"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom wavenet.cli import main\nmain()\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("HOME", str(in_tmp))

    def run(*command):
        if shutil.which(command[0]) is None:
            pytest.skip(f"there is no {command[0]}")
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout.splitlines()

    return run


BASH = r"""
eval "$(wavenet completion bash)"
complete -p wavenet
for words in tra "train dataset=vc" "train model/conditioners=[mel,sp" "export "; do
    COMP_LINE="wavenet $words"
    COMP_POINT=${#COMP_LINE}
    _wavenet wavenet
    echo "${COMPREPLY[@]}"
done
COMP_WORDBREAKS=${COMP_WORDBREAKS//=} COMP_LINE="wavenet train dataset=vc -m" COMP_POINT=24
_wavenet wavenet
echo "${COMPREPLY[@]}"
"""


@pytest.mark.slow
def test_bash(shell):
    assert shell("bash", "--norc", "-c", BASH) == [
        "complete -F _wavenet wavenet", "train", "vctk", "[mel,speaker", "onnx", "dataset=vctk",
    ]  # fmt: skip


@pytest.mark.slow
def test_fish(shell, in_tmp):
    (in_tmp / "take").touch()
    lines = ("wavenet tra", "wavenet train dataset=vc", "wavenet train compile=t", "wavenet train run_dir=ta")
    asked = "; ".join(f"complete -C '{line}'" for line in lines)
    found = shell("fish", "--no-config", "-c", f"wavenet completion fish | source; {asked}")
    assert [line.split("\t")[0] for line in found] == ["train", "dataset=vctk", "compile=true", "run_dir=take"]


@pytest.mark.slow
def test_zsh_reads_its_script(shell):
    script = 'autoload -U compinit; compinit -u; eval "$(wavenet completion zsh)"; echo $_comps[wavenet]'
    assert shell("zsh", "-f", "-c", script) == ["_wavenet"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "stdout", "stderr"),
    [
        ([], 2, "", "usage: wavenet completion bash|zsh|fish\n"),
        (["--help"], 0, "usage: wavenet completion bash|zsh|fish\n", ""),
        (["tcsh"], 2, "", "wavenet completion: tcsh: no such shell; known are bash, zsh, fish\n"),
    ],
)
def test_usage(words, code, stdout, stderr):
    command = [sys.executable, "-c", "from wavenet.cli import main; main()", "completion", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == code and ended.stdout.startswith(stdout) and ended.stderr.startswith(stderr)
    assert "Traceback" not in ended.stderr
