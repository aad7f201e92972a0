"""Where files and folders are written: through links, to devices and pipes, and never below a folder through a link."""

import errno
import os
import threading

import pytest

from wavenet.atomic_files import atomic_folder, check_no_links, is_special, write_text

posix = pytest.mark.skipif(os.name != "posix", reason="devices and pipes of POSIX")


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_to_a_file_stays_a_link(tmp_path, exists):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "file.json", tmp_path / "link.json"
    if exists:
        target.write_text("before")
    link.symlink_to(target)
    write_text(link, "after")
    assert link.is_symlink() and target.read_text() == "after"
    assert os.listdir(target.parent) == ["file.json"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    target, link = tmp_path / "there", tmp_path / "link"
    target.mkdir()
    (target / "sign").write_text("before")
    link.symlink_to(target)
    with atomic_folder(link, sign="sign") as beside:
        (beside / "sign").write_text("after")
    assert link.is_symlink() and (target / "sign").read_text() == "after"
    assert sorted(os.listdir(tmp_path)) == ["link", "there"]


@posix
def test_a_pipe_is_written_to(tmp_path):
    pipe, read = tmp_path / "pipe.json", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "through")
    reader.join(10)
    assert read == ["through"] and is_special(pipe) and os.listdir(tmp_path) == ["pipe.json"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_device_is_named_and_kept(tmp_path):
    link = tmp_path / "link.json"
    link.symlink_to("/dev/full")
    for path in (link, link.readlink()):
        with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
            write_text(path, "lost")
    assert link.is_symlink() and is_special(link.readlink())


def test_a_full_disk_names_the_folder(tmp_path):
    with (
        pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/folder'"),
        atomic_folder(tmp_path / "folder", sign="sign"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path) == []


def test_links_below_a_folder_are_named(tmp_path):
    (tmp_path / "real" / "a").mkdir(parents=True)
    (tmp_path / "cache").symlink_to(tmp_path / "real")  # the folder itself may be a link
    (tmp_path / "real" / "b").symlink_to(tmp_path)
    check_no_links(tmp_path / "cache", [tmp_path / "cache" / "a" / "new.wav"])
    with pytest.raises(OSError, match=rf"is a link, which is not written through; remove it: '{tmp_path}/cache/b'"):
        check_no_links(tmp_path / "cache", [tmp_path / "cache" / "b" / "c" / "new.wav"])
