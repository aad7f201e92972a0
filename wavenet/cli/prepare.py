"""`wavenet prepare`: prepare a dataset into shards."""

import shlex
from typing import Any

from omegaconf import DictConfig

from wavenet.cli.built import make_dataset, model_on_meta
from wavenet.cli.command import command, plain
from wavenet.cli.launched import share
from wavenet.data import Dataset, Mix


@command("prepare")
def main(cfg: DictConfig) -> None:
    """Prepare a dataset, with the rate and the features of a model; each part of a mix into a folder of its own."""
    from wavenet.data.shards import prepare_shards  # noqa: PLC0415  # an extra

    if (tasks := share().size) > 1:
        raise ValueError(
            f"torchrun or srun has started prepare {tasks} times; start it once: it divides the work itself, between "
            "processes of this machine, or by preparation.engine=ray"
        )
    model = model_on_meta(cfg)
    preparation = plain(cfg.preparation)
    del preparation["cache_dir"]  # of training from files

    def prepare(dataset: Dataset, output: str) -> None:
        manifest = prepare_shards(
            dataset,
            model.sample_rate,
            output,
            model.features,
            dtype=cfg.shards.dtype,
            shard_megabytes=cfg.shards.megabytes,
            **preparation,
        )
        _print(manifest, output)

    dataset = make_dataset(cfg.dataset)
    if isinstance(dataset, Mix):
        dataset.of_each(lambda name, part: prepare(part, _inside(cfg.output, name)))
        print(f"train    wavenet train {shlex.join(_settings(dataset, cfg.output))}")
    else:
        prepare(dataset, cfg.output)
        print(f"train    wavenet train dataset=shards dataset.root={cfg.output}")


def _print(manifest: dict[str, Any], output: str) -> None:
    shards = manifest["shards"]
    features = f", with {', '.join(manifest['features'])}" if manifest["features"] else ""
    print(
        f"corpus   {manifest['name']}: {manifest['samples'] / manifest['sample_rate'] / 3600:.2f} h in "
        f"{manifest['utterances']} utterances, {manifest['sample_rate']} Hz, {manifest['dtype']}{features}"
    )
    print(f"files    {len(shards)} shard(s), {sum(each['bytes'] for each in shards) / 1e6:.1f} MB, in {output}")
    if manifest["skipped"]:
        print(f"skipped  {manifest['skipped']} recording(s), listed in skipped.txt there")


def _inside(output: str, name: str) -> str:
    """Return a part's place within a folder or a store, whose own settings follow a question mark.

    >>> _inside("prepared/", "mine"), _inside("s3://bucket/all?region=eu-west-1", "mine")
    ('prepared/mine', 's3://bucket/all/mine?region=eu-west-1')
    """
    place, mark, settings = output.partition("?") if "://" in output else (output, "", "")
    return f"{place.rstrip('/')}/{name}{mark}{settings}"


def _settings(mix: Mix, output: str) -> list[str]:
    """Return the settings with which a mix is trained on from the shards of its parts."""
    settings = ["dataset=mix"]
    for name in mix.parts:
        settings += [f"+dataset@dataset.parts.{name}=shards", f"dataset.parts.{name}.root={_inside(output, name)}"]
    if mix.weights is not None:
        settings.append(f"dataset.weights={{{', '.join(f'{name}: {weight}' for name, weight in mix.weights.items())}}}")
    return settings + ["dataset.same_speakers=true"] * mix.same_speakers


if __name__ == "__main__":
    main()
