"""Small corpora of real speech in the layouts of published ones."""

import csv
import itertools

import soundfile

from tests.conftest import PROMPTS
from wavenet.audio import read, resample, write

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def pieces(seconds):
    """Yield waveforms (T,) at 16 kHz of a length in seconds, from one recording after the other, without end."""
    with (PROMPTS / "index.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    for name in itertools.cycle(names):
        samples, rate = soundfile.read(PROMPTS / name, dtype="float32")
        assert rate == 16000
        length = round(seconds * rate)
        for start in range(0, len(samples) - length + 1, length):
            piece = samples[start : start + length]
            if piece.std() > 0.01:  # not a pause
                yield piece


def speechcommands(root):
    """SC09's lists and three recordings of each digit: a speaker's in each list, and one in none."""
    folder = root / "SpeechCommands" / "speech_commands_v0.02"
    source = pieces(0.5)
    for word in (*DIGITS, "yes"):
        (folder / word).mkdir(parents=True)
        for speaker in ("0a7c2a8d", "1b88bf70", "2c6d3924"):
            soundfile.write(folder / word / f"{speaker}_nohash_0.wav", next(source), 16000)
    (folder / "_background_noise_").mkdir()
    soundfile.write(folder / "_background_noise_" / "pink_noise.wav", next(source), 16000)
    for name, speaker in (("validation", "1b88bf70"), ("testing", "2c6d3924")):
        lines = [f"{word}/{speaker}_nohash_0.wav\n" for word in (*DIGITS, "yes")]
        (folder / f"{name}_list.txt").write_text("".join(lines))
    return root


def libritts(root, subsets=("train-clean-100", "dev-clean", "test-clean")):
    """Two recordings at 24 kHz of each of two speakers in every subset, with their texts."""
    names = {"train-clean-100": ("103", "1034"), "dev-clean": ("84", "174"), "test-clean": ("61", "121")}
    for subset in subsets:
        for speaker, recording in zip(names[subset], ("june/june_001.flac", "carlo/carlo_001.flac"), strict=True):
            chapter = root / "LibriTTS" / subset / speaker / "1240"
            chapter.mkdir(parents=True)
            waveform = resample(*read(PROMPTS / recording), 24000)
            for segment, half in enumerate(waveform.chunk(2)):
                name = f"{speaker}_1240_{segment:06d}_000000"
                write(chapter / f"{name}.wav", half, 24000)
                (chapter / f"{name}.normalized.txt").write_text("Words.\n")
    return root


def beethoven(root, numbers=(0, 1, 3807, 3808, 4067, 4068, 4327)):
    """The clips of these numbers, of a second each."""
    (root / "beethoven").mkdir(parents=True)
    for number, piece in zip(numbers, pieces(1.0), strict=False):
        soundfile.write(root / "beethoven" / f"{number}.wav", piece, 16000)
    return root


def youtubemix(root, count=241):
    """As many clips as published, of a quarter of a second each."""
    (root / "youtube_mix").mkdir(parents=True)
    for number, piece in zip(range(count), pieces(0.25), strict=False):
        soundfile.write(root / "youtube_mix" / f"out{number}.wav", piece, 16000)
    return root


LAYOUTS = {"speechcommands": speechcommands, "libritts": libritts, "beethoven": beethoven, "youtubemix": youtubemix}
