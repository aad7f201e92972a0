"""The log for Weights & Biases, offline: the data that `wandb sync` would send."""

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from tests.conftest import TINY
from wavenet.extras import install_command
from wavenet.training.wandb_log import WandbLog

wandb = pytest.importorskip("wandb")
SETTINGS = [
    *TINY, "trainer.max_steps=4", "trainer.val_check_interval=4", "trainer.log_every_n_steps=2", "run_dir=r",
    "logger=wandb", "logger.offline=true",
]  # fmt: skip


def records(path: Path) -> Iterator[bytes]:
    """Yield the records of a wandb file, which is a LevelDB log after a header of seven bytes.

    Blocks of 32 KiB hold pieces: checksum (4 bytes), length (2), type (1: whole, 2: first, 3: middle, 4: last).
    """
    data, place, record = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def entries(folder: Path) -> list[dict]:
    """Return what a run logged, and its settings, as plain data; nested names are joined by a slash."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for data in records(next(folder.glob("*.wandb"))):
        record = Record.FromString(data)
        items = [*record.history.item, *record.config.update, *record.run.config.update]
        if items:
            found.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return found


def run_id(folder: Path) -> str:
    (file,) = folder.glob("run-*.wandb")
    return file.stem.removeprefix("run-")


@pytest.fixture
def train(run):
    """Return a function that trains, and returns the newest folder that wandb wrote."""

    def call(*overrides):
        run("train", *overrides)
        wandb.teardown()  # waits for wandb's process, which completes the file
        return max(Path("r/wandb").glob("offline-run-*"))

    return call


def test_metrics_settings_and_audio_are_stored_and_a_resumed_run_continues(train, in_tmp, speech):
    data = ["dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true"]
    first = train(*SETTINGS, *data)
    logged = entries(first)
    numbers = {(entry["trainer/global_step"], name): value for entry in logged for name, value in entry.items()
               if "trainer/global_step" in entry}  # fmt: skip
    assert {step for step, name in numbers if name == "train/bits_per_sample"} == {2, 4}
    assert 7 < numbers[4, "validation/bits_per_sample"] < 9
    settings = {name: value for entry in logged for name, value in entry.items()}
    assert settings["optimizer"]["lr"] > 0 and settings["dataset"]["root"] == str(speech)
    for kind in ("generated", "real"):
        (sound,) = numbers[4, f"june/{kind}/audio/audio"]
        kept, rate = soundfile.read(first / "files" / sound["path"])
        written, _ = soundfile.read(f"r/audio/step-0000004/june-{kind}.wav")
        assert rate == 8000 and len(kept) == len(written) and abs(kept - written).max() < 1e-3
        (picture,) = [first / "files" / name for name in numbers[4, f"june/{kind}/spectrogram/filenames"]]
        assert picture.read_bytes().startswith(b"\x89PNG")

    again = train("resume=r", "trainer.max_steps=6")
    assert again != first and run_id(again) == run_id(first)
    steps = {entry["trainer/global_step"] for entry in entries(again) if "train/bits_per_sample" in entry}
    assert max(steps) == 6


def test_the_run_goes_on_under_its_id_when_two_began_in_the_same_second(tmp_path):
    for folder in ("offline-run-20261126_144607-y5u9sjmb", "offline-run-20261126_144607-y5u9sjmb-1"):
        (tmp_path / "wandb" / folder).mkdir(parents=True)
        (tmp_path / "wandb" / folder / "run-y5u9sjmb.wandb").touch()
    assert WandbLog(str(tmp_path), purge_step=4, offline=True).version == "y5u9sjmb"


def test_a_missing_login_is_reported(run, in_tmp, speech, monkeypatch):
    for name in ("HOME", "NETRC"):
        monkeypatch.setenv(name, str(in_tmp / "nobody"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    settings = ["dataset=folder", f"dataset.root={speech}", "logger.offline=false"]
    with pytest.raises(AssertionError, match=r"(?s)exit 2\n.*logger=wandb: .*wandb login.*logger\.offline=true"):
        run("train", *SETTINGS, *settings)


def test_without_the_package_the_error_names_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("wavenet.training.wandb_log.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=re.escape(install_command("wandb"))):
        WandbLog(str(tmp_path))
