"""`wavenet prepare`: prepare a dataset into shards."""

from omegaconf import DictConfig

from wavenet.cli.command import command, plain
from wavenet.cli.launched import share
from wavenet.cli.preflight import make_dataset, model_on_meta


@command("prepare")
def main(cfg: DictConfig) -> None:
    """Prepare a dataset, with the rate and the features of a model."""
    from wavenet.data.shards import prepare_shards  # noqa: PLC0415  # an extra

    if (tasks := share().size) > 1:
        raise ValueError(
            f"torchrun or srun has started prepare {tasks} times; start it once: it divides the work itself, between "
            "processes of this machine, or by preparation.engine=ray"
        )
    model = model_on_meta(cfg)
    preparation = plain(cfg.preparation)
    del preparation["cache_dir"]  # of training from files
    manifest = prepare_shards(
        make_dataset(cfg.dataset),
        model.sample_rate,
        cfg.output,
        model.features,
        dtype=cfg.shards.dtype,
        shard_megabytes=cfg.shards.megabytes,
        **preparation,
    )
    shards = manifest["shards"]
    features = f", with {', '.join(manifest['features'])}" if manifest["features"] else ""
    print(
        f"corpus   {manifest['name']}: {manifest['samples'] / manifest['sample_rate'] / 3600:.2f} h in "
        f"{manifest['utterances']} utterances, {manifest['sample_rate']} Hz, {manifest['dtype']}{features}"
    )
    print(f"files    {len(shards)} shard(s), {sum(each['bytes'] for each in shards) / 1e6:.1f} MB")
    if manifest["skipped"]:
        print(f"skipped  {manifest['skipped']} recording(s), listed in skipped.txt there")
    print(f"train    wavenet train dataset=shards dataset.root={cfg.output}")


if __name__ == "__main__":
    main()
