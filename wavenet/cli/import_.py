"""`wavenet import`: convert a checkpoint of r9y9's wavenet_vocoder to a model of this package."""

from omegaconf import DictConfig

from wavenet.checkpoint import save
from wavenet.cli.command import command
from wavenet.exchange.wavenet_vocoder import load


@command("import")
def main(cfg: DictConfig) -> None:
    """Load the checkpoint, save the model, and print what was converted, dropped and changed."""
    model, dropped, differs = load(cfg.checkpoint, cfg.hparams)
    folder = save(model, cfg.output)
    conditions = [
        f"{name} ({each.features.num_channels} channels, one frame per {each.features.hop_length} samples)"  # pyright: ignore
        if each.features is not None
        else f"{name} ({len(each.categories)})"  # pyright: ignore
        for name, each in model.conditioners.items()
    ]
    field, rate = model.receptive_field, model.sample_rate
    print(f"model    {model.stack.num_layers} layers in {model.num_cycles} cycles, {model.kernel_size} taps")
    print(f"         receptive field {field} samples ({1000 * field / rate:.0f} ms) at {rate} Hz")
    distribution = model.distribution
    print(f"output   {distribution.label}, {distribution.parameter_channels} parameters per sample")
    print(f"given    {', '.join(conditions) or 'nothing'}")
    print(f"dropped  {', '.join(dropped) or 'nothing'}")
    for line in differs:
        print(f"differs  {line}")
    print(f"saved    {folder}")


if __name__ == "__main__":
    main()
