"""`wavenet generate`: generate audio from a checkpoint."""

import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig
from torch import Tensor

from wavenet import load, stream
from wavenet.audio import format_of, read, write
from wavenet.checkpoint import packaged_models
from wavenet.cli.command import command, plain, unnamed_model, warnings_as_lines
from wavenet.cli.launched import Share, share
from wavenet.cli.manifest import features_from, generate_many
from wavenet.cli.validation import check_rate
from wavenet.conditioning import CategoricalEmbedding
from wavenet.generation.sampler import check_room
from wavenet.model import WaveNet
from wavenet.names import one_line
from wavenet.progress import Bar

DEFAULT_SECONDS = 2.0


@command("generate")
def main(cfg: DictConfig) -> None:
    """Generate audio, and write one file for each utterance."""
    output = Path(cfg.output)
    if cfg.manifest is None:
        format_of(output)  # a wrong suffix fails now, not after the audio is generated
    mine = Share() if cfg.manifest is None else share()
    model = load(cfg.checkpoint, mine.device(cfg.device), trust=plain(cfg.trust))
    rate = model.sample_rate
    check_rate(cfg.sample_rate, rate)
    _check_takes_mel(model, cfg)
    if line := unnamed_model(cfg):
        print(line)
    if cfg.manifest is not None:
        with warnings_as_lines():
            generate_many(cfg, model, mine)
        return
    prompt = None
    if cfg.prompt is not None:
        prompt, _ = read(cfg.prompt, rate)
    recording = None if cfg.mel_from is None else read(cfg.mel_from, rate)[0]
    conditions = _conditions(model, cfg, recording)
    seconds: Any = list(cfg.seconds) if isinstance(cfg.seconds, ListConfig) else cfg.seconds
    if seconds is None and recording is not None and prompt is None:
        seconds = len(recording) / rate
    elif seconds is None and not any(features.name in conditions for features in model.features):
        seconds = DEFAULT_SECONDS
    with warnings_as_lines():
        audio_stream = stream(
            model,
            seconds,
            cfg.num,
            conditions=conditions,
            seed=list(cfg.seed) if isinstance(cfg.seed, ListConfig) else cfg.seed,
            temperature=cfg.temperature,
            top_k=cfg.top_k,
            guidance=cfg.guidance,
            prompt=prompt,
            backend=cfg.backend,
            threads=cfg.threads,
            weights=cfg.weights,
            chunk=1000,  # samples between two updates of the progress bar
        )
    lengths = audio_stream.lengths
    assert lengths is not None
    check_room(lengths)
    total = max(lengths)
    chunks = []
    with Bar(
        total=total, desc=f"generating ({audio_stream.backend})", unit="sample", unit_scale=True, dynamic_ncols=True
    ) as bar:
        start = time.perf_counter()
        for chunk in audio_stream:
            chunks.append(chunk)
            bar.update(chunk.shape[1])
            factor = sum(min(bar.n, length) for length in lengths) / rate / (time.perf_counter() - start)
            bar.set_postfix_str(f"{factor:.3f} x real time")
    waveforms = torch.cat(chunks, dim=1)
    for number, waveform in enumerate(row[:length] for row, length in zip(waveforms, lengths, strict=True)):
        path = output if cfg.num == 1 else output.with_stem(f"{output.stem}-{number}")
        write(path, waveform, rate)
        peak, level = waveform.abs().max().item(), waveform.square().mean().sqrt().item()
        hint = "" if level > 1e-4 else "  (near silence: more training, another seed, or temperature=1)"
        print(f"{path}: {len(waveform) / rate:.2f} s at {rate} Hz, peak {peak:.3f}, RMS {level:.4f}{hint}")


def _check_takes_mel(model: WaveNet, cfg: DictConfig) -> None:
    """Check that a model takes what mel or mel_from gives it."""
    packaged = packaged_models()
    for key, takes_it in {"mel": "mel" in model.conditioners, "mel_from": bool(model.features)}.items():
        if cfg[key] is not None and not takes_it:
            name = cfg.checkpoint if cfg.checkpoint in packaged else "the model"
            other = "checkpoint=vocoder does" if "vocoder" in packaged else "experiment=vocoder trains one that does"
            raise ValueError(f"{key}={cfg[key]}: {name} takes no mel spectrogram; {other}")


def _conditions(model: WaveNet, cfg: DictConfig, recording: Tensor | None) -> dict[str, Any]:
    """Return the model's conditions: the names given, or else the first category, and features from files."""
    settings = plain(cfg)
    conditions = (settings["conditions"] or {}) | {
        name: settings[name] for name in ("speaker", "mel") if settings[name] is not None
    }
    conditions = {name: value for name, value in conditions.items() if value is not None}
    unused = conditions.keys() - model.conditioners.keys()
    if unused:
        known = ", ".join(model.conditioners) or "no conditions"
        raise ValueError(f"the model is not conditioned on {', '.join(sorted(unused))}; it takes {known}")
    files = {each.name: _path(each.name, conditions[each.name]) for each in model.features if each.name in conditions}
    conditions |= features_from(model, files, recording, cfg.mel_from)
    for name, conditioner in model.conditioners.items():
        if not isinstance(conditioner, CategoricalEmbedding):
            continue
        if name in conditions:
            names = conditions[name]
            several = isinstance(names, list)
            conditions[name] = [str(each) for each in names] if several else str(names)  # 225 may be a name
        elif conditioner.absent is None:
            conditions[name] = conditioner.categories[0]
            if len(conditioner.categories) > 1:
                known = ", ".join(conditioner.categories)
                print(one_line(f"{name}={conditions[name]} (none was given; the model has {known})"))
    return conditions


def _path(name: str, value: Any) -> Path:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value}; it must be the path of a .npy file")
    return Path(value)


if __name__ == "__main__":
    main()
