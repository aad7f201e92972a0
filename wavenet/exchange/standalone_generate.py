"""Audio from an exported WaveNet with NumPy and onnxruntime alone: python generate.py seconds=2 speaker=june seed=1.

Conditions are NAME=WORD or NAME=FRAMES.npy, (channels, frames); other settings are temperature=1 and output=out.wav.
"""

import json
import sys
import time
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
    states = [one for one in graph.get_inputs() if one.name.startswith("state_")]
    return graph, {one.name: np.zeros((1, *one.shape[1:]), np.float32) for one in states}


def main() -> None:
    """Generate the audio, sample by sample, and write it."""
    about = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))
    given = dict(setting.split("=", 1) for setting in sys.argv[1:])
    rate, told = about["sample_rate"], []  # what is said about each sample, or about all: (1, channels, samples or 1)
    for name, one in about["conditions"].items():
        if name not in given and one["absent"]:
            told.append(np.array(one["absent"], np.float32).reshape(1, -1, 1))
        elif "categories" in one:
            number = one["categories"].index(given.get(name, one["categories"][0]))
            told += load(one["file"])[0].run(None, {name: np.array([number])})
        else:
            told += load(one["file"])[0].run(None, {name: np.load(given[name]).astype(np.float32)[None]})
    covered = min((each.shape[2] for each in told if each.shape[2] > 1), default=2 * rate)
    length = round(float(given["seconds"]) * rate) if "seconds" in given else covered
    raw = np.random.Philox(key=int(given.get("seed", 0))).random_raw(length * about["num_uniforms"])
    uniforms = ((raw >> 40).astype(np.float32) / np.float32(2**24)).reshape(length, 1, -1)
    heard = np.zeros((1, length + 1), np.float32)  # silence, and then what is made
    step, states = load("step.onnx")
    listener, memory = load("context.onnx") if about["pool"] else (None, {})
    said, began = np.float32(0), time.perf_counter()
    for t in range(length):
        feed = {"sample": heard[:, t : t + 1], "uniforms": uniforms[t]}
        feed["temperature"] = np.array(given.get("temperature", 1), np.float32)
        if listener and t and t % about["pool"] == 0:
            said, *new = listener.run(None, {"samples": heard[:, t - about["pool"] : t]} | memory)
            memory = dict(zip(memory, new, strict=True))
        if about["condition_channels"]:
            now = [each if each.shape[2] == 1 else each[:, :, t : t + 1] for each in told]
            feed["condition"] = sum(now, np.zeros((1, about["condition_channels"], 1), np.float32) + said)
        heard[:, t + 1 : t + 2], _, *new = step.run(None, feed | states)
        states = dict(zip(states, new, strict=True))
    took = time.perf_counter() - began
    with wave.open(given.get("output", "out.wav"), "wb") as file:
        file.setparams((1, 2, rate, length, "NONE", ""))
        file.writeframes((heard[0, 1:] * 32768).round().clip(-32768, 32767).astype("<i2").tobytes())
    print(f"{length / rate:.2f} s in {took:.2f} s: {length / rate / took:.2f} x real time")


if __name__ == "__main__":
    main()
