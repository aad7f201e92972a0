"""Progress bars are widgets in a notebook and text elsewhere, and say nothing else."""

import subprocess
import sys

import pytest

import wavenet.progress
from tests.conftest import ROOT
from wavenet.progress import Bar

KERNEL = "import sys, types; sys.modules['ipykernel.zmqshell'] = types.ModuleType('zmqshell')\n"
SHELL = "from IPython.core.interactiveshell import InteractiveShell; InteractiveShell.instance()\n"
NO_WIDGETS = "sys.modules.update({name: None for name in ('ipywidgets', 'IPython.html.widgets', 'IPython.html')})\n"
SHOWN = """
from wavenet.progress import IS_WIDGET, Bar, print_above
with Bar(total=3, desc="walking") as bar:
    bar.update(2)
    print_above("half way")
    bar.update()
print(IS_WIDGET)
"""


def run(code):
    ended = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, ended.stderr


def test_on_a_terminal_it_is_text_on_standard_error():
    printed, bar = run(SHOWN)
    assert printed == "False\n"
    assert "half way\n" in bar and "walking: 100%" in bar


def test_in_a_notebook_it_is_a_widget():
    printed, bar = run(KERNEL + SHELL + SHOWN)
    assert printed.startswith("walking:") and printed.endswith("half way\nTrue\n")
    assert bar == ""


def test_in_a_notebook_without_ipywidgets_it_is_text_and_no_warning():
    printed, bar = run(KERNEL + SHELL + NO_WIDGETS + SHOWN)
    assert printed == "False\n"
    assert "half way\n" in bar and "walking: 100%" in bar


def test_a_file_gets_few_lines(monkeypatch, capsys):
    assert wavenet.progress.seconds_between_updates() == 10
    monkeypatch.setattr(wavenet.progress, "IS_WIDGET", True)
    assert wavenet.progress.seconds_between_updates() == 0.5


@pytest.mark.parametrize("is_widget", [False, True])
def test_a_line_is_shown_where_the_bar_is(monkeypatch, capsys, is_widget):
    monkeypatch.setattr(wavenet.progress, "IS_WIDGET", is_widget)
    with Bar(total=1):
        wavenet.progress.print_above("a line")
    shown = capsys.readouterr()
    assert ("a line" in shown.out, "a line" in shown.err) == (is_widget, not is_widget)
