"""Audio from an exported WaveNet, with NumPy and onnxruntime alone: python generate.py seconds=2 speaker=june seed=0.

A condition is NAME=WORD or NAME=FRAMES.npy, an array (channels, frames); then there are temperature=1 and output=out.wav.
"""

import json
import sys
import time
import wave
from pathlib import Path

import numpy as np
import onnxruntime as ort


def main() -> None:
    """Read the settings, make the audio, and write it."""
    folder, given = Path(__file__).parent, dict(setting.split("=", 1) for setting in sys.argv[1:])
    about, options = json.loads((folder / "model.json").read_text(encoding="utf-8")), ort.SessionOptions()
    options.intra_op_num_threads = 1  # steps are too small to be shared
    load = lambda name: ort.InferenceSession(folder / name, options, providers=["CPUExecutionProvider"])  # noqa: E731
    zeros = lambda shapes: [np.zeros((1, *shape), np.float32) for shape in shapes]  # noqa: E731
    rate, context, told = about["sample_rate"], about["context"], []  # told: (1, channels, values) and their hold
    for name, about_it in about["conditions"].items():
        if name not in given and about_it["absent"] is not None:
            told.append((np.array(about_it["absent"], np.float32).reshape(1, -1, 1), None))
            continue
        names = about_it.get("categories")
        asked = [names.index(given.get(name, names[0]))] if names else np.load(given[name])[None].astype(np.float32)
        told.append((load(about_it["file"]).run(None, {name: np.array(asked)})[0], about_it["hold"]))
    ends = [values.shape[2] * hold for values, hold in told if hold]
    length = round(float(given.get("seconds", 2)) * rate) if "seconds" in given or not ends else min(ends)
    per_sample, heard = about["num_uniforms"], np.zeros((1, length + 1), np.float32)  # silence, then what is made
    raw = np.random.Philox(key=int(given.get("seed", 0))).random_raw(length * per_sample)
    uniforms = ((raw >> 40).astype(np.float32) * np.float32(2**-24)).reshape(length, 1, per_sample)
    step, states, began = load("step.onnx"), zeros(about["states"]), time.perf_counter()
    listener, memory = context and load(context["file"]), zeros(context["states"] if context else [])
    said = np.zeros((1, about["condition_channels"], 1), np.float32)
    for t in range(length):
        feed = {"sample": heard[:, t : t + 1], "uniforms": uniforms[t]}
        feed["temperature"] = np.array(given.get("temperature", 1), np.float32)
        if context and t and t % context["pool"] == 0:
            past = {"samples": heard[:, t - context["pool"] : t]}
            said, *memory = listener.run(None, past | {f"state_{k:03d}": state for k, state in enumerate(memory)})
        if about["condition_channels"]:
            feed["condition"] = said + sum(v[:, :, t // hold :][:, :, :1] if hold else v for v, hold in told)
        feed |= {f"state_{k:03d}": state for k, state in enumerate(states)}
        heard[:, t + 1 : t + 2], _, *states = step.run(None, feed)
    took = time.perf_counter() - began
    with wave.open(given.get("output", "out.wav"), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((heard[0, 1:] * 32768).round().clip(-32768, 32767).astype("<i2").tobytes())
    print(f"{length / rate:.2f} s in {took:.2f} s, {length / rate / took:.2f} x real time")


if __name__ == "__main__":
    main()
