"""The API page builds without a warning, whole, and without a dead link."""

import importlib
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
import soundfile
import torch

import wavenet
from tests.conftest import ROOT
from wavenet.distributions import MuLawCategorical

pytestmark = pytest.mark.slow

OPTIONAL = ["librosa", "starlette", "uvicorn", "huggingface_hub", "onnx", "onnxruntime", "wandb", "pesq", "pystoi"]
SCRIPT = ROOT / "scripts" / "docs.py"


def build(folder, before=""):
    """Run the script after some other Python."""
    code = f"import runpy, sys; sys.argv[1:] = [{str(folder)!r}]\n{before}\n"
    code += f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280, cwd=ROOT)


class Page(HTMLParser):
    """What can be linked to, the links, what is loaded, and the docstrings' text without code and headings."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loaded, self.prose, self._in = set(), [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        elif attributes.get("src") or attributes.get("href"):
            self.loaded.append(attributes.get("src") or attributes["href"])
        if tag in ("pre", "code", "h6", "div"):
            self._in.append("docstring" if attributes.get("class") == "docstring" else tag)

    def handle_endtag(self, tag):
        if tag in ("pre", "code", "h6", "div"):
            self._in.pop()

    def handle_data(self, data):
        if "docstring" in self._in and not {"pre", "code", "h6"} & set(self._in):
            self.prose.append(data)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The built pages, by their place in the folder; nothing optional was there to be imported."""
    folder = tmp_path_factory.mktemp("api")
    result = build(
        folder, f"import lightning; sys.modules.update(dict.fromkeys({OPTIONAL}))"
    )  # Lightning asks for some
    assert (result.returncode, result.stderr) == (0, "")
    assert "index.html" in result.stdout
    assert (folder / "search.js").stat().st_size > 10_000
    texts = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}
    return {name: (text, Page(text)) for name, text in texts.items()}


def test_every_public_name_is_there(pages):
    names = pages.keys() - {"index.html", "wavenet/tutorial.html", "wavenet/architecture.html"}
    rooms = {name: importlib.import_module(name.removesuffix(".html").replace("/", ".")) for name in names}
    assert {"wavenet.html", "wavenet/nn.html", "wavenet/generation.html", "wavenet/training.html"} <= rooms.keys()
    assert not {"wavenet/cli.html", "wavenet/types.html"} & rooms.keys()
    for name, room in rooms.items():
        own = {public for public, value in vars(room).items() if getattr(value, "__module__", "") == room.__name__}
        wanted = getattr(room, "__all__", {public for public in own if not public.startswith("_")})
        missing = set(wanted) - pages[name][1].ids
        assert not missing, (name, missing)


def test_the_public_names_come_first_and_show_their_types(pages):
    text, page = pages["wavenet.html"]
    places = [text.index(f'<section id="{name}"') for name in wavenet.__all__]
    assert places == sorted(places)
    assert wavenet.__all__[:4] == ["load", "generate", "stream", "save"]
    assert {"wavenet/tutorial.html", "wavenet/architecture.html"} <= set(page.links)
    assert 'url=./wavenet.html"' in pages["index.html"][0]
    assert re.search(r'num_cycles.*?<span class="nb">int</span>', text, re.DOTALL)


def test_no_link_is_dead(pages):
    counted = 0
    for name, (_, page) in pages.items():
        for link in page.links:
            if link.startswith(("https://", "http://")):
                continue
            path, _, anchor = link.partition("#")
            parts = name.split("/")[:-1]
            for part in path.split("/") if path else []:
                parts = parts[:-1] if part == ".." else parts if part == "." else [*parts, part]
            target = "/".join(parts) if path else name
            assert target in pages, (name, link)
            assert not anchor or unquote(anchor) in pages[target][1].ids, (name, link)
            counted += 1
    assert counted > 300


def test_nothing_is_loaded_from_elsewhere(pages):
    for name, (text, page) in pages.items():
        assert all(source.startswith("data:") for source in page.loaded), name
        assert not re.search(r"url\(['\"]?https?:|@import", text), name
        for script in re.findall(r"<script.*?</script>", text, re.DOTALL):
            assert "http" not in script, name


def test_every_docstring_is_read_as_it_was_meant(pages):
    """No section, prompt, fence, bullet or table is left in the text."""
    for name, (_, page) in pages.items():
        text = "".join(page.prose)
        assert name == "index.html" or len(text) > 300
        left = re.search(r">>>|`|\b(Args|Returns|Raises|Attributes):|^ *[-|] ", text, re.MULTILINE)
        assert not left, (name, text[left.start() - 80 : left.end() + 80])


def test_the_tutorial_is_a_page_with_its_pictures(pages):
    text, page = pages["wavenet/tutorial.html"]
    assert sum(source.startswith("data:image/png") for source in page.loaded) == 3
    assert "1-one-convolution" in page.ids
    assert "../wavenet.html#generate" in page.links
    assert text.count("<h1") == 1


def test_the_architecture_is_a_page_whose_names_are_links(pages):
    text, page = pages["wavenet/architecture.html"]
    assert text.count("<h1") == 1 and "the-network" in page.ids
    assert {"generation.html", "checkpoint.html"} <= set(page.links)


def test_a_warning_fails_it_and_nothing_is_written(tmp_path):
    result = build(tmp_path / "api", "import wavenet.nn; wavenet.nn.__all__.append('nothing')")
    assert result.returncode == 1
    assert "UserWarning: Found 'nothing' in wavenet.nn.__all__, but it does not resolve" in result.stderr
    assert not (tmp_path / "api").exists()


def test_without_pdoc_one_line_says_what_to_install(tmp_path):
    result = build(tmp_path / "api", "sys.modules['pdoc'] = None")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert 'pip install -e ".[docs]"' in result.stderr


def test_the_front_pages_code_runs(small, in_tmp, speech):
    wavenet.save(small(("june", "carlo")), "runs/NAME")
    use, build_own, train_own = re.findall(r"```python\n(.*?)```", wavenet.__doc__ or "", re.DOTALL)
    names = {}
    exec(use.replace("seconds=2,", "seconds=0.1,").replace("seconds=10,", "seconds=0.1,"), names)
    assert soundfile.info("june.wav").frames == 200
    assert names["chunk"].shape == (1, 200)
    assert type(wavenet.load("june")) is wavenet.WaveNet
    exec(build_own, names | {"waveform": torch.zeros(1, 100)})
    shutil.copytree(speech / "june", "recordings")
    names["MuLawCategorical"] = MuLawCategorical
    exec(train_own.replace("steps=3000", "steps=2, logger='none'"), names)
    assert names["run"].bits_per_sample < 9 and names["audio"].shape == (1, 16000)
