"""The notebook is run as it stands there, with fewer steps, and makes what it promises: sound, pictures, fewer bits."""

import os
import re

import jupytext
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOK = ROOT / "data" / "tutorial" / "notebook.md"
TEXT = NOTEBOOK.read_text(encoding="utf-8")
SMALL = {"seconds": "0.2", "steps": "60", "adapt_steps": "2"}


def small():
    """The text with other numbers in the one cell that has them."""
    text = TEXT
    for name, value in SMALL.items():
        text, found = re.subn(rf"^{name} = [\d.]+(?=  # )", f"{name} = {value}", text, flags=re.MULTILINE)
        assert found == 1, name
    return text


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The code cells, with their outputs."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = jupytext.reads(small(), fmt="md")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, *filter(None, [os.getenv("PYTHONPATH")])))))
        patched.setenv("WAVENET_CACHE", str(folder / "cache"))
        NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cells, cause):
    """What the only cell with this text has shown, by its type: text of the streams, and lists of all else."""
    (cell,) = (cell for cell in cells if re.search(cause, cell.source))
    found = {"stdout": "", "stderr": ""}
    for output in cell.outputs:
        if output.output_type == "stream":
            found[output.name] += output.text
        else:
            for kind, value in output.data.items():
                found.setdefault(kind, []).append(value)
    return found


@pytest.mark.slow
def test_it_runs_without_errors_and_complaints(cells):
    assert len(cells) > 10
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cause", "players"),
    [("^babble = .*", 1), ("^run$", 8), ("^for temperature", 4), ("\nadapted$", 2), ("^mouse = ", 1)],
)
def test_it_can_be_heard(cells, cause, players):
    html = "".join(shown(cells, f"(?m){cause}")["text/html"])
    assert html.count("<audio") == html.count('src="data:audio/wav;base64,UklGR') == players


@pytest.mark.slow
@pytest.mark.parametrize("cause", [r"draw\(audio", r"plt\.bar", r"csv\.DictReader"])
def test_it_draws(cells, cause):
    (picture,) = shown(cells, cause)["image/png"]
    assert len(picture) > 10_000


@pytest.mark.slow
def test_its_network_is_shown_as_a_table(cells):
    assert "<th>Condition: speaker</th><td>4 names</td>" in shown(cells, "(?m)^model$")["text/html"][0]


@pytest.mark.slow
def test_its_network_learns(cells):
    printed = shown(cells, "\nrun = ")["stdout"]
    bits = [float(each) for each in re.findall(r"step \d+: ([\d.]+) bits per sample", printed)]
    assert len(bits) == 3 and bits == sorted(bits, reverse=True) and bits[-1] < 7.5
    assert re.search(r"speaker .*kept allison, .*new, .*: mouse\n", shown(cells, "\nadapted = ")["stdout"])


@pytest.mark.slow
@pytest.mark.parametrize("cause", ["\nrun = ", "\nadapted = "])
def test_its_progress_bars_are_widgets(cells, cause):
    found = shown(cells, cause)
    assert len(found["application/vnd.jupyter.widget-view+json"]) == 2
    assert not re.search(r"\d%\|", found["stdout"])


def test_the_text_is_as_jupytext_writes_it():
    assert jupytext.writes(jupytext.reads(TEXT, fmt="md"), fmt="md") == TEXT


def test_only_python_is_code():
    cells = [cell for cell in jupytext.reads(TEXT, fmt="md").cells if cell.cell_type == "code"]
    assert len(cells) == TEXT.count("```python\n")
    for cell in cells:
        assert not cell.source.startswith(("%", "!"))
        compile(cell.source, "cell", "exec")
