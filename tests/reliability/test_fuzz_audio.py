"""A short run of the fuzzer, and that it would see what it looks for."""

import io
import random

import numpy as np
import pytest
import soundfile

from tests.reliability import fuzz_audio, mutants
from wavenet.audio import AudioError, read

pytestmark = pytest.mark.slow


def test_mutants_are_used_or_named_within_the_memory_of_clean_clips():
    result = fuzz_audio.fuzz(160, seed=1)
    assert result.failures == []
    assert result.made == dict.fromkeys(fuzz_audio.KINDS, 10)
    assert all(result.used[kind] + result.skipped[kind] == 10 for kind in fuzz_audio.KINDS if kind != "no_file")
    assert result.used["odd_name"] == 10
    assert result.skipped["not_audio"] == result.skipped["no_numbers"] == 10


def test_the_fuzzer_sees_what_is_lost_or_named_twice():
    outcome = {"memory": 1, "seconds": 1.0, "used": ["a", "b"], "skipped": [("b", "why"), ("c", "")], "faults": ["f"]}
    result = fuzz_audio.Result()
    fuzz_audio._judge(result, "batch 0", dict.fromkeys("abd", "flipped"), outcome)
    fuzz_audio._judge(result, "batch 1", {}, "exit status -11")
    assert result.failures == [
        "batch 0: f",
        "batch 0: 'b' (flipped) is used or named 2 times",
        "batch 0: 'd' (flipped) is used or named 0 times",
        "batch 0: 'c' is nobody's",
        "batch 0: 'c' without a reason",
        "batch 1: exit status -11",
    ]


def test_a_child_that_dies_or_hangs_is_seen(tmp_path):
    assert "no audio files below it" in fuzz_audio._prepare_in_a_child(tmp_path, 100)
    assert fuzz_audio._prepare_in_a_child(tmp_path, 0.01) == "hangs: not done after 0.01 s"


def test_the_checksums_of_an_ogg_file_are_those_that_its_encoder_writes():
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(48000)) / 2, 16000, format="OGG")
    assert file.getvalue().count(b"OggS") > 2
    assert mutants.checked(file.getvalue()) == file.getvalue()


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
def test_a_header_is_patched_where_it_lies(tmp_path, ending):
    """The same wrong header in all formats: its rate is taken as it is, its number of channels is refused."""
    clip = next(clip for clip in mutants.clips(0, 10) if clip[0] == ending)
    (tmp_path / f"x.{ending}").write_bytes(mutants.patched(clip, rate=7919))
    assert read(tmp_path / f"x.{ending}")[1] == 7919
    (tmp_path / f"x.{ending}").write_bytes(mutants.patched(clip, rate=mutants.RATES[1]))
    with pytest.raises(AudioError, match="1 Hz; a recording has 1000 to 1000000"):
        read(tmp_path / f"x.{ending}")


def test_a_seed_makes_the_same_mutants():
    pool = mutants.clips(3, 10)
    for change in mutants.CONTENTS:
        assert change(random.Random(5), pool[0]) == change(random.Random(5), pool[0])
