"""A run's report of recordings that cannot be used."""

import os
import shutil

from tests.conftest import TINY


def test_every_bad_recording_has_one_line_in_the_report(run, in_tmp, speech):
    shutil.copytree(speech / "june", "in")
    names = [b"two\nlines.wav", b"caf\xe9.wav", *(f"{number}.wav".encode() for number in range(12))]
    for name in names:
        with open(os.path.join(b"in", name), "wb") as file:
            file.write(b"no audio")
    os.mkfifo("in/pipe.wav")
    os.symlink("loop.wav", "in/loop.wav")
    os.symlink(".", "in/again")
    output = run("train", *TINY, "dataset=folder", "dataset.root=in", "run_dir=run", "logger=none")
    lines = (in_tmp / "run" / "skipped.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split(": ")[0] for line in sorted(lines)] == sorted(
        ["two\\nlines.wav", "caf\\udce9.wav", *(f"{n}.wav" for n in range(12)), "pipe.wav", "loop.wav", "again"]
    )
    assert all(line.split(": ", 1)[1] for line in lines)
    assert "skipped  17 recording(s), listed in run/skipped.txt:" in output
    assert "           and 7 more\n" in output
    assert "pipe.wav: in/pipe.wav: not a file, but a pipe or a device" in lines
