"""`wavenet generate`: make audio from a checkpoint."""

import time
import warnings
from pathlib import Path

import torch
from omegaconf import DictConfig, ListConfig
from tqdm import tqdm

from wavenet import load, stream
from wavenet.audio import format_of, read, write
from wavenet.cli.command import command
from wavenet.model import WaveNet


@command("generate")
def main(cfg: DictConfig) -> None:
    """Generate, and write one file for each utterance."""
    output = Path(cfg.output)
    format_of(output)  # a wrong ending fails now, not when the audio is made
    model = load(cfg.checkpoint, cfg.device)
    rate = model.sample_rate
    prompt = None
    if cfg.prompt is not None:
        prompt, _ = read(cfg.prompt, rate)
    seconds: list[float] = list(cfg.seconds) if isinstance(cfg.seconds, ListConfig) else [cfg.seconds] * cfg.num
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        talk = stream(
            model,
            seconds,
            cfg.num,
            speaker=_speaker(model, cfg.speaker),
            seed=cfg.seed,
            temperature=cfg.temperature,
            top_k=cfg.top_k,
            prompt=prompt,
            backend=cfg.backend,
            threads=cfg.threads,
            weights=cfg.weights,
            chunk=1000,  # the progress bar moves as often
        )
    for warning in caught:
        if warning.category is UserWarning:  # which backend was passed over, and why
            print(warning.message)
    lengths = [max(1, round(length * rate)) for length in seconds]
    total = max(lengths)
    pieces = []
    with tqdm(
        total=total, desc=f"generating ({talk.backend})", unit="sample", unit_scale=True, dynamic_ncols=True
    ) as bar:
        began = time.perf_counter()
        for piece in talk:
            pieces.append(piece)
            bar.update(piece.shape[1])
            factor = sum(min(bar.n, length) for length in lengths) / rate / (time.perf_counter() - began)
            bar.set_postfix_str(f"{factor:.3f} x real time")
    waveforms = torch.cat(pieces, dim=1)
    for number, waveform in enumerate(row[:length] for row, length in zip(waveforms, lengths, strict=True)):
        path = output if cfg.num == 1 else output.with_stem(f"{output.stem}-{number}")
        write(path, waveform, rate)
        peak, level = waveform.abs().max().item(), waveform.square().mean().sqrt().item()
        hint = "" if level > 1e-4 else "  (near silence: more training, another seed, or temperature=1)"
        print(f"{path}: {len(waveform) / rate:.2f} s at {rate} Hz, peak {peak:.3f}, RMS {level:.4f}{hint}")


def _speaker(model: WaveNet, asked: str | None) -> str | None:
    """The speaker asked for; without one, the first that the model knows."""
    if asked is None and "speaker" in model.conditioners:
        known: list[str] = model.conditioners["speaker"].categories  # pyright: ignore[reportAssignmentType]
        asked = known[0]
        if len(known) > 1:
            print(f"speaker={asked} (none was asked for; the model knows {', '.join(known)})")
    return asked


if __name__ == "__main__":
    main()
