"""Generate audio from an exported WaveNet with NumPy and onnxruntime: python generate.py seconds=2 speaker=june seed=1.

Conditions are NAME=WORD or NAME=FRAMES.npy, (channels, frames); other settings are temperature=1 and output=out.wav.
"""

import json
import sys
import time
import unicodedata
import wave
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

FOLDER = Path(__file__).parent


def load(file: str) -> tuple[Any, dict[str, np.ndarray]]:
    """Load a graph and its initial states."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # a step is too small to be shared
    graph = ort.InferenceSession(FOLDER / file, options, providers=["CPUExecutionProvider"])
    states = [each for each in graph.get_inputs() if each.name.startswith("state_")]
    return graph, {state.name: np.zeros((1, *state.shape[1:]), np.float32) for state in states}


def _settings(conditions: dict[str, Any]) -> dict[str, str]:
    """Return the settings of the command line; it ends the program if one is unknown, or help is wanted."""
    known = [*conditions, "seconds", "seed", "temperature", "output"]
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__, f"\nThis model's settings: {', '.join(known)}.", sep="")
        sys.exit(0)
    for setting in sys.argv[1:]:
        if setting.partition("=")[0] not in known or "=" not in setting:
            sys.exit(f"generate.py: {setting!a}: not a setting; write NAME=VALUE with one of {', '.join(known)}")
    return dict(setting.split("=", 1) for setting in sys.argv[1:])


def _number(name: str, given: str, known: list[str]) -> int:
    """Return a name's number in a list of names, of which the one with the same characters comes first."""
    composed = [unicodedata.normalize("NFC", each) for each in known]
    for each, names in ((given, known), (unicodedata.normalize("NFC", given), composed)):
        if each in names:
            return names.index(each)
    sys.exit(f"generate.py: unknown {name} {given!a}; choose from {', '.join(map(ascii, known))}")


def _frames(name: str, settings: dict[str, str], channels: int) -> np.ndarray:
    """Return a condition's frames, (channels, frames), from its file."""
    if name not in settings:
        sys.exit(f"generate.py: {name} is not given; give {name}=FRAMES.npy, ({channels}, frames)")
    try:
        frames = np.load(settings[name]).astype(np.float32)
    except (OSError, ValueError, EOFError) as error:
        sys.exit(f"generate.py: {settings[name]!a}: not readable as a .npy file ({error})")
    if frames.ndim != 2 or frames.shape[0] != channels:
        sys.exit(f"generate.py: {settings[name]!a}: shape {frames.shape}; it must be ({channels}, frames)")
    return frames


def main() -> None:
    """Generate the audio, sample by sample, and write it."""
    about = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))
    settings = _settings(about["conditions"])
    rate, conditions = about["sample_rate"], []  # of each sample, or of all: (1, channels, samples or 1)
    for name, condition in about["conditions"].items():
        if name not in settings and condition["absent"]:
            conditions.append(np.array(condition["absent"], np.float32).reshape(1, -1, 1))
        elif "categories" in condition:
            known = condition["categories"]
            number = _number(name, settings[name] if name in settings else known[0], known)
            conditions += load(condition["file"])[0].run(None, {name: np.array([number])})
        else:
            frames = _frames(name, settings, condition["num_channels"])
            conditions += load(condition["file"])[0].run(None, {name: frames[None]})
    covered = min((each.shape[2] for each in conditions if each.shape[2] > 1), default=2 * rate)
    length = round(float(settings["seconds"]) * rate) if "seconds" in settings else covered
    raw = np.random.Philox(key=int(settings.get("seed", 0))).random_raw(length * about["num_uniforms"])
    uniforms = ((raw >> 40).astype(np.float32) / np.float32(2**24)).reshape(length, 1, -1)
    audio = np.zeros((1, length + 1), np.float32)  # begins with a zero, the first step's input
    step, states = load("step.onnx")
    context, context_states = load("context.onnx") if about["pool"] else (None, {})
    context_condition, started = np.float32(0), time.perf_counter()
    for t in range(length):
        feed = {"sample": audio[:, t : t + 1], "uniforms": uniforms[t]}
        feed["temperature"] = np.array(settings.get("temperature", 1), np.float32)
        if context and t and t % about["pool"] == 0:
            samples = audio[:, t - about["pool"] : t]
            context_condition, *new = context.run(None, {"samples": samples} | context_states)
            context_states = dict(zip(context_states, new, strict=True))
        if about["condition_channels"]:
            now = [each if each.shape[2] == 1 else each[:, :, t : t + 1] for each in conditions]
            feed["condition"] = sum(now, np.zeros((1, about["condition_channels"], 1), np.float32) + context_condition)
        audio[:, t + 1 : t + 2], _, *new = step.run(None, feed | states)
        states = dict(zip(states, new, strict=True))
    elapsed = time.perf_counter() - started
    with wave.open(settings.get("output", "out.wav"), "wb") as file:
        file.setparams((1, 2, rate, length, "NONE", ""))
        file.writeframes((audio[0, 1:] * 32768).round().clip(-32768, 32767).astype("<i2").tobytes())
    print(f"{length / rate:.2f} s in {elapsed:.2f} s: {length / rate / elapsed:.2f} x real time")


if __name__ == "__main__":
    main()
