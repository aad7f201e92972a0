"""`wavenet demo` as a process, and its error messages."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import wavenet
from tests.conftest import ROOT
from tests.demo.serving import ask, connect, start, until
from tests.reliability.models import make
from wavenet.extras import install_command

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-c", "from wavenet.cli import main; main()", "demo", "checkpoint=tiny", "port=0"]


@pytest.fixture
def started(in_tmp):
    """Return a function that starts the command with the given settings."""
    processes = []

    def start(*settings, **environment):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen([*COMMAND, *settings], env=os.environ | environment, **pipes))
        return processes[-1]

    wavenet.save(make("mu-law", tiny=True), "tiny")
    yield start
    for process in processes:
        process.kill()
        process.communicate()


def address_of(process):
    """Wait until the page is served; return its address."""
    lines = [process.stdout.readline(), process.stdout.readline()]
    assert "warming up" in lines[0], process.stderr.read()
    address = re.match(r"(http://\S+) serves the page for tiny; Ctrl-C stops it", lines[1])
    assert address, lines
    return address[1]


def test_it_serves_and_ends_at_a_signal_also_during_generation(started, in_tmp):
    opened = in_tmp / "opened"
    browser = in_tmp / "browser"
    browser.write_text(f"#!/bin/sh\necho $1 > {opened}.partial; mv {opened}.partial {opened}\n")
    browser.chmod(0o755)
    (in_tmp / "there").mkdir()
    places = {"BROWSER": str(browser), "TMPDIR": str(in_tmp / "there")}
    process = started("backend=reference", "max_seconds=3600", "open_browser=true", **places)
    other = started("host=localhost")
    url, elsewhere = address_of(process), address_of(other)
    until(opened.exists)
    assert opened.read_text().strip() == url
    for address in (url, elsewhere):
        assert b"<title>WaveNet</title>" in ask(address)[2]
    connection, _ = start(url, seconds=3600, conditions__speaker="june")
    incomplete = connect(url)
    incomplete.request("POST", "/generate?mode=continue", b"RIFF", {"Content-Length": "1000"})
    process.send_signal(signal.SIGTERM)
    other.send_signal(signal.SIGINT)
    for each, code in ((process, 143), (other, 130)):
        output, errors = each.communicate(timeout=60)
        assert (each.returncode, output, errors) == (code, "", "wavenet demo: stopped\n")
    connection.close()
    incomplete.close()
    assert list((in_tmp / "there").glob("wavenet*")) == []


def refused(run, *settings):
    with pytest.raises(AssertionError, match=r"^exit 2\n") as error:
        run("demo", *settings)
    (line,) = [line for line in str(error.value).splitlines()[1:] if line]
    return line


def test_a_port_that_is_taken_and_packages_that_are_not_there(run, in_tmp, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = f"port is {port}, not available on 127.0.0.1 (Address already in use); port=0 takes a free one"
        assert refused(run, "checkpoint=tiny", f"port={port}") == f"wavenet demo: {message}"
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.delitem(sys.modules, "wavenet.demo.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert refused(run, "checkpoint=tiny") == f"wavenet demo: the page needs uvicorn: {install_command('demo')}"


def test_what_is_not_loopback_is_refused_also_without_the_command_line(monkeypatch):
    from wavenet.demo.server import listen

    for host in ("0.0.0.0", "192.0.2.1"):
        with pytest.raises(ValueError, match=f"host is '{host}'; it must be 127.0.0.1, ::1 or localhost: the page has"):
            listen(host, 0)


def test_the_page_is_found_wherever_the_package_is():
    """The wheel includes the package's whole folder."""
    assert '"wavenet"' in (ROOT / "pyproject.toml").read_text().split("only-include = ")[1].splitlines()[0]
    assert Path(wavenet.__file__).with_name("demo").joinpath("page", "index.html").is_file()
