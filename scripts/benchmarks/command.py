"""The command line of `scripts/benchmark.py`."""

import argparse
from pathlib import Path

import torch

from scripts.benchmarks import data, generation, training, vocoder
from scripts.benchmarks.table import write_json
from wavenet.audio import read
from wavenet.evaluation.figures import draw_spectrograms
from wavenet.machine import machine_in_words


def main() -> None:
    """Print a table while it grows, and write it as JSON."""
    parser = argparse.ArgumentParser(description="Measure speed, beside the error and the machine's limit.")
    subjects = parser.add_subparsers(dest="subject", required=True)

    of_generation = subjects.add_parser("generation", help="audio from a model")
    of_generation.add_argument("--shapes", nargs="+", choices=list(generation.SHAPES), default=list(generation.SHAPES))
    of_generation.add_argument("--rounds", type=int, default=7, help="measurements of each line; the median counts")
    of_generation.add_argument("--batch", type=int, default=32, help="utterances in the lines with many")
    of_generation.add_argument("--seconds", type=float, default=0.5, help="length of a measurement")
    of_generation.add_argument("--samples", type=int, default=16000, help="drawn by both backends and compared")
    of_generation.set_defaults(run=_generation)

    of_training = subjects.add_parser("training", help="steps: forward, backward, optimizer")
    gpu = torch.cuda.is_available()
    shapes = list(training.TRAINING_SHAPES)
    of_training.add_argument("--shapes", nargs="+", choices=shapes, default=["1024"] if gpu else ["M20", "S"])
    of_training.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if gpu else "cpu")
    of_training.add_argument("--rounds", type=int, default=3, help="measurements of each line; the median counts")
    of_training.add_argument("--batch", type=int, default=4, help="segments in a step")
    of_training.add_argument("--segment", type=int, default=16000, help="samples of a segment, all predicted")
    of_training.add_argument("--seconds", type=float, default=3.0, help="least length of a measurement")
    of_training.add_argument("--compile", action="store_true", help="torch.compile on a CPU too, which takes minutes")
    of_training.set_defaults(run=_training)

    of_data = subjects.add_parser("data", help="reading training segments")
    of_data.add_argument("--segment", type=int, default=8000, help="samples predicted in a segment")
    of_data.add_argument("--context", type=int, default=1023, help="samples before it")
    of_data.add_argument("--seconds", type=float, default=3.0, help="length of a measurement")
    of_data.set_defaults(run=_data)

    of_vocoder = subjects.add_parser("vocoder", help="resynthesis from mel spectrograms, with right and wrong ones")
    of_vocoder.add_argument("--steps", type=int, default=3600, help="training steps of both models")
    of_vocoder.add_argument("--vocoder", type=Path, help="a run that is there already, instead of training")
    of_vocoder.add_argument("--without", type=Path, help="likewise, conditioned on the speaker and not on a mel")
    of_vocoder.add_argument("--folder", type=Path, default=Path("runs/benchmark"), help="for runs and sounds")
    of_vocoder.add_argument("--cache", type=Path, default=Path("data/cache"), help="for prepared audio")
    of_vocoder.add_argument("--most", type=int, help="held-out recordings; all if not given")
    of_vocoder.add_argument("--figure", type=Path, help="a picture to draw of the first two")
    of_vocoder.set_defaults(run=_vocoder)

    for each in (of_generation, of_training, of_data, of_vocoder):
        each.add_argument("--output", type=Path, default=Path("benchmark.json"), help="JSON with all of it")
    asked = parser.parse_args()
    print(machine_in_words(), flush=True)
    asked.run(asked)
    print(f"written to {asked.output}")


def _generation(asked: argparse.Namespace) -> None:
    print(generation.HEADER)
    rows = generation.benchmark_generation(
        asked.shapes,
        asked.rounds,
        asked.batch,
        asked.seconds,
        lambda row: print(generation.line(row), flush=True),
    )
    cached = generation.compile_seconds("float32", fresh=False)
    same = [generation.same_samples(shape, asked.samples) for shape in asked.shapes if shape != "L"]
    print(f"until the first sample of a new process, compiled before: {cached:.1f} s")
    for drawn in same:
        print(f"drawn by both backends: {', '.join(f'{name} {value}' for name, value in drawn.items())}")
    write_json(asked.output, rows, compiled_before_seconds=cached, same_samples=same)


def _training(asked: argparse.Namespace) -> None:
    print(training.HEADER, flush=True)
    rows = training.benchmark_training(
        asked.shapes,
        asked.device,
        asked.rounds,
        asked.batch,
        asked.segment,
        asked.seconds,
        asked.compile,
        lambda row: print(training.line(row), flush=True),
    )
    largest = {}
    if asked.device == "cuda":
        for shape in asked.shapes:
            for again in (False, True):
                name = f"{shape}, {'with' if again else 'without'} recomputation"
                largest[name] = training.largest_batch(shape, asked.segment, again)
                print(f"largest batch of {asked.segment} samples that fits: {name} {largest[name]}", flush=True)
    write_json(asked.output, rows, largest_batch=largest)


def _data(asked: argparse.Namespace) -> None:
    rate = training.default_rate(asked.segment, asked.seconds)
    print(f"the default model trains {rate:.0f} predicted samples/s")
    print(data.HEADER, flush=True)
    rows = data.benchmark_data(
        rate, asked.segment, asked.context, seconds=asked.seconds, on_row=lambda row: print(data.line(row), flush=True)
    )
    write_json(asked.output, rows, training_rate=rate)


def _vocoder(asked: argparse.Namespace) -> None:
    seconds = {}
    settings = [f"trainer.max_steps={asked.steps}", f"preparation.cache_dir={asked.cache}"]
    for name, more in (("vocoder", ["experiment=vocoder"]), ("without", [])):
        if getattr(asked, name) is None:
            seconds[name] = vocoder.train(asked.folder, name, *settings, *more)
            setattr(asked, name, asked.folder / name)
            print(f"{name}: trained {asked.steps} steps in {seconds[name]:.0f} s", flush=True)
    print(vocoder.HEADER, flush=True)
    sounds = asked.folder / "sounds"
    rows = vocoder.benchmark_vocoder(
        sounds, asked.vocoder, asked.without, asked.cache, asked.most, lambda row: print(vocoder.line(row), flush=True)
    )
    if asked.figure is not None:
        pictures = {}
        for number in (0, 1):
            for title, ending in (("recording", "recording"), ("made again from its mel", "vocoder-its-mel")):
                path = sounds / f"{number:02d}-{ending}.wav"
                pictures[f"{title}, {number + 1}"], rate = read(path)
        draw_spectrograms(asked.figure, pictures, rate)
    write_json(asked.output, rows, training_seconds=seconds)
