"""`wavenet evaluate`: bits per sample on held-out utterances."""

import json
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from wavenet import load
from wavenet.checkpoint import find
from wavenet.cli.command import command, plain
from wavenet.cli.run_config import load_run_config
from wavenet.cli.settings import check_rate
from wavenet.data import add_features, prepare, split
from wavenet.evaluation import bits_per_sample
from wavenet.generation.cpu import with_rounded_weights
from wavenet.writing import reason, write_text


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Score a checkpoint and write a table and JSON."""
    path = find(cfg.checkpoint)
    model = with_rounded_weights(load(path, cfg.device), cfg.weights)
    check_rate(cfg.sample_rate, model.sample_rate)
    settings = cfg
    if OmegaConf.select(cfg, "dataset") is None:
        run_config = path.parent.parent / "config.yaml"
        if not run_config.is_file():
            raise ValueError(f"{run_config} is not there, so the run's dataset is unknown; give dataset=NAME")
        settings = load_run_config(run_config, cfg.preparation.cache_dir)
    corpus = prepare(instantiate(settings.dataset), model.sample_rate, **plain(settings.preparation))
    corpus = add_features(corpus, model.features, trimmed=settings.preparation.trim_db is not None)
    _, held_out = split(corpus, settings.validation_fraction)
    if not held_out.utterances:
        raise ValueError(
            f"validation_fraction is {settings.validation_fraction}: nothing is held out to be scored; "
            "give dataset=NAME validation_fraction=0.1"
        )
    with tqdm(total=len(held_out.utterances), desc="scoring", unit="utterance") as bar:
        scores = bits_per_sample(model, held_out, on_progress=bar.update)

    print(f"{'speaker':<16} {'bits/sample':>11} {'as 16-bit':>9} {'utterances':>10} {'seconds':>8}")
    for name, score in scores.items():
        seconds = score.samples / model.sample_rate
        bits, bits_16 = score.bits_per_sample, score.bits_per_16_bit_sample
        print(f"{name:<16} {bits:>11.4f} {bits_16:>9.4f} {score.utterances:>10} {seconds:>8.1f}")
    result = {
        "checkpoint": str(path),
        "dataset": corpus.name,
        "weights": cfg.weights,
        "sample_rate": model.sample_rate,
        "bits_per_sample": {
            name: {
                "value": s.bits_per_sample,
                "as_16_bit": s.bits_per_16_bit_sample,
                "samples": s.samples,
                "utterances": s.utterances,
            }
            for name, s in scores.items()
        },
    }
    run = path.parent.parent if Path(cfg.checkpoint).exists() else Path()  # nothing is written into the Hub's cache
    output = Path(cfg.output) if cfg.output is not None else run / "evaluation.json"
    try:
        write_text(output, json.dumps(result, indent=2) + "\n")
    except OSError as error:
        raise ValueError(f"output is '{output}', and cannot be written ({reason(error)})") from error
    print(f"written to {output}")


if __name__ == "__main__":
    main()
