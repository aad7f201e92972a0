"""The README, the manual and the other texts: their commands, links and Python are right."""

import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from scripts.benchmarks.command import make_parser
from tests.cli.test_validation import composed
from tests.configured import CONFIGS
from tests.conftest import ROOT
from wavenet.cli.quoting import quoted
from wavenet.cli.validation import check

GUIDES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "data" / "guide").glob("*.md"))
READMES = ["README.md", "README.ja.md"]
TEXTS = [
    *READMES,
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "data/tutorial/architecture.md",
    "data/tutorial/notebook.md",
    "data/models/README.md",
    *GUIDES,
]
COMMANDS = sorted(path.stem for path in CONFIGS.glob("*.yaml"))

# parts that the texts show how to add, and the benchmark's subjects that a line leaves open
EXAMPLES = {"laplace", "energy", "mycorpus", "birds", "name", "packaged_name", "COMMAND"}

PYTHON = {  # the number of blocks that tests/test_readme.py runs; the Japanese one is the README's
    "README.md": 1,
    "README.ja.md": 1,
    "data/guide/data.md": 1,
    "data/guide/generate.md": 1,
    "data/guide/share.md": 2,
    "data/guide/train.md": 1,
    "data/guide/vocoder.md": 1,
    "data/guide/your-own-parts.md": 2,
}


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name, language):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text_of(name), re.DOTALL | re.MULTILINE)
    return [block for own, block in found if own == language]


def lines_of_commands(name):
    """Return each command line of a text's blocks and of its prose, in one line."""
    written = "\n".join(blocks(name, "")).replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```", "", text_of(name), flags=re.DOTALL | re.MULTILINE)
    return [line.strip() for line in [*written, *re.findall(r"`([^`\n]+)`", prose)]]


def programs(name):
    """Return the programs of this project that a text runs, each with its arguments."""
    found = []
    for line in lines_of_commands(name):
        for part in line.split(" && "):
            if not re.match(r"([A-Z_]+=\S+ )*(python|torchrun|srun|ray job submit --|wavenet) ", part):
                continue
            words = shlex.split(part, comments=True)
            where = [i for i, word in enumerate(words) if re.fullmatch(r"scripts/\w+\.py|wavenet", word)]
            if where:
                found.append((line, Path(words[where[0]]).stem, words[where[0] + 1 :]))
    return found


RUN = {  # each once, by its line
    line: (program, arguments)
    for name in ["README.md", "CONTRIBUTING.md", *GUIDES]
    for line, program, arguments in programs(name)
}


@pytest.fixture
def written(in_tmp, monkeypatch):
    """What the texts ask the reader to write: configs in conf/, and a module."""
    for folder, text in {
        "callbacks/mine": "mine: {_target_: mymodule.MyCallback, every: 100}",
        "logger/mlflow": blocks("data/guide/train.md", "yaml")[1],
        "dataset/voices": blocks("data/guide/data.md", "yaml")[0],
        "dataset/birds": blocks("data/guide/your-own-parts.md", "yaml")[0],
        "dataset/mine": "_target_: mymodel.Mine",
        "model/mine": "defaults: [small]",
    }.items():
        path = in_tmp / "conf" / f"{folder}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return in_tmp


def command_of(words):
    """Return the command that follows `wavenet`, as a module's name, and its arguments."""
    names = "_".join(words[:2]) if words[:1] == ["export"] else "".join(words[:1])
    return names, words[1 + (words[:1] == ["export"]) :]


def first_of_sweep(arguments):
    """Return a sweep's arguments with the first value of each choice, without those of Hydra's own."""
    for override in OverridesParser.create().parse_overrides(arguments):
        if override.key_or_group and not override.key_or_group.startswith("hydra"):
            values = override.sweep_string_iterator() if override.is_discrete_sweep() else iter(["0.002"])
            yield f"{override.key_or_group}={next(values)}" if override.is_sweep_override() else override.input_line


def test_there_are_commands():
    assert len(RUN) > 100
    assert {program for program, _ in RUN.values()} >= {"train", "generate", "evaluate", "push", "prepare", "benchmark"}


@pytest.mark.slow
@pytest.mark.parametrize("line", RUN)
def test_a_command_is_accepted(written, line):
    program, arguments = RUN[line][0], [*RUN[line][1]]
    if program == "wavenet":
        program, arguments = command_of(arguments)
    if program == "benchmark":
        if arguments:
            make_parser().parse_args(arguments)
        return
    if program not in COMMANDS:
        assert (ROOT / "scripts" / f"{program}.py").is_file() or program in (None, "completion"), line
        return
    if "--config-dir" in arguments:
        place = arguments.index("--config-dir")
        assert (written / arguments[place + 1]).is_dir()
        del arguments[place : place + 2]
    if "-m" in arguments:
        arguments = list(first_of_sweep([argument for argument in arguments if argument != "-m"]))
    arguments = [argument for argument in arguments if argument != "--help" and not argument.endswith("...")]
    cfg = composed(program, f"hydra.searchpath=[file://{written}/conf]", *quoted(program, arguments))
    if not re.search(r"mymodel|birds|mlflow|=mine|\.\.\.", line):  # not here; the first two are run by test_readme.py
        check(program, cfg)


def headings(path):
    """Return the anchors of a Markdown file's headings, as a forge forms them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    folder = (ROOT / name).parent
    for target, anchor in re.findall(r"\]\(([^)#]*)(#[^)]*)?\)", text_of(name)):
        if target.startswith("https://"):
            continue
        path = folder / target if target else ROOT / name
        assert path.exists(), target
        assert not anchor or anchor[1:] in headings(path), f"{target}{anchor}"


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "CHANGELOG.md"])
def test_named_files_are_there(name):
    named = r"`((?:wavenet|tests|scripts|configs|data)/[\w/.-]+\.(?:py|yaml|md|sbatch))`"
    for path in re.findall(named, text_of(name)):
        assert (ROOT / path).exists() or Path(path).stem in EXAMPLES, path


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_is_left_to_fill_in(name):
    assert not re.search(r"@[A-Z_]+@|TODO|TBD", text_of(name))


def test_every_page_is_in_the_index():
    index, readme = text_of("data/guide/README.md"), text_of("README.md")
    for path in (ROOT / "data" / "guide").glob("*.md"):
        assert path.name == "README.md" or (f"({path.name})" in index and f"(data/guide/{path.name})" in readme), path


def test_every_block_of_python_is_run():
    found = {name: len(blocks(name, "python")) for name in [*READMES, *GUIDES]}
    assert {name: number for name, number in found.items() if number} == PYTHON
