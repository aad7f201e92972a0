"""Compiled code is kept in the user's cache, and nowhere else."""

import os
import resource
import types
import warnings
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numba
import pytest

from wavenet.native import code_cache
from wavenet.native.instructions import jit


@pytest.fixture
def double(tmp_path, monkeypatch):
    """A function of a module in a folder of its own; the user's cache is another folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    code_cache._warn_once.cache_clear()
    source = tmp_path / "source" / "doubling.py"
    source.parent.mkdir()
    source.write_text("def double(x):\n    return 2 * x\n")
    spec = spec_from_file_location("doubling", source)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.double


def compiled_files(folder):
    """The folders below one in which numba has put files, and how many files."""
    found = [path.parent for path in folder.rglob("*.nb[ic]") if path.stat().st_size]
    return {path.relative_to(folder).as_posix().split("_")[0] for path in found}, len(found)


def test_code_is_kept_in_the_users_cache_and_found_there(double, tmp_path):
    compiled, again = jit(double), jit(double)
    assert compiled(21) == 42 and again(21) == 42
    assert compiled_files(tmp_path) == ({"cache/wavenet/source"}, 2)
    assert sum(again.stats.cache_hits.values()) == 1


def test_code_of_other_sources_is_compiled_again(double, monkeypatch):
    """numba itself checks the file of one function only, but the loops consist of functions from several files."""
    jit(double)(21)
    monkeypatch.setattr(code_cache, "DIGEST", "of other sources")
    changed = jit(double)
    assert changed(21) == 42
    assert sum(changed.stats.cache_hits.values()) == 0


def test_the_users_own_folder_goes_before(double, tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "own"))
    assert jit(double)(21) == 42
    assert compiled_files(tmp_path) == ({"own/source"}, 2)


def test_functions_of_others_stay_where_they_were(double, tmp_path):
    assert jit(double)(21) == numba.njit(cache=True)(double)(21) == 42
    assert compiled_files(tmp_path) == ({"cache/wavenet/source", "source/"}, 4)
    assert numba.config.CACHE_DIR == ""


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {}, "/home/ann/.cache/wavenet"),
        ("linux", {"XDG_CACHE_HOME": "/big/cache"}, "/big/cache/wavenet"),
        ("linux", {"XDG_CACHE_HOME": ""}, "/home/ann/.cache/wavenet"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/ann/.cache/wavenet"),  # its specification says: ignore it
        ("freebsd14", {}, "/home/ann/.cache/wavenet"),
        ("darwin", {"XDG_CACHE_HOME": "/big/cache"}, "/home/ann/Library/Caches/wavenet"),
        ("win32", {"LOCALAPPDATA": "/c/local"}, "/c/local/wavenet"),
        ("win32", {}, "/home/ann/AppData/Local/wavenet"),
    ],
)
def test_every_system_has_its_place(monkeypatch, platform, variables, folder):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(code_cache, "sys", types.SimpleNamespace(platform=platform))
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/ann", **variables}.items():
        monkeypatch.setenv(name, value)
    assert code_cache.cache_folder() == Path(folder)


def test_a_cache_that_cannot_be_written_is_named_once(double, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [jit(double)(21) for _ in range(3)] == [42] * 3
    (message,) = [str(each.message) for each in caught]
    assert message == (
        f"native code is compiled again in each process: {tmp_path}/cache/wavenet cannot be written; set "
        "NUMBA_CACHE_DIR to a folder that can be written"
    )
    assert compiled_files(tmp_path) == (set(), 0)


def test_without_a_home_code_is_compiled_in_each_process(double, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])  # as for a user without an entry
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match=r"in each process: Could not determine home directory; set NUMBA_CACHE_DIR"):
        assert jit(double)(21) == 42
    assert os.listdir() == ["source"]


def test_a_full_disk_is_no_error(double, tmp_path):
    """No file may grow."""
    compiled = jit(double)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        assert compiled(21) == 42
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert compiled_files(tmp_path) == (set(), 0)


def test_without_compilation_there_is_nothing_to_keep(double, monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert jit(double) is double
