"""`wavenet import`: a checkpoint of r9y9's wavenet_vocoder as a model of this package."""

from omegaconf import DictConfig

from wavenet.checkpoint import save
from wavenet.cli.command import command
from wavenet.exchange.wavenet_vocoder import load


@command("import")
def main(cfg: DictConfig) -> None:
    """Read, save, and say what came over and what did not."""
    model, dropped, differs = load(cfg.checkpoint, cfg.hparams)
    folder = save(model, cfg.output)
    told = [
        f"{name} ({one.features.num_channels} channels, a frame for {one.features.hop_length} samples)"  # pyright: ignore
        if one.features is not None
        else f"{name} ({len(one.categories)})"  # pyright: ignore
        for name, one in model.conditioners.items()
    ]
    field, rate = model.receptive_field, model.sample_rate
    print(f"model    {model.stack.num_layers} layers in {model.num_cycles} cycles, {model.kernel_size} taps")
    print(f"         receptive field {field} samples ({1000 * field / rate:.0f} ms) at {rate} Hz")
    print(f"output   {type(model.distribution).__name__}, {model.distribution.parameter_channels} parameters a sample")
    print(f"told     {', '.join(told) or 'nothing'}")
    print(f"dropped  {', '.join(dropped) or 'nothing'}")
    for line in differs:
        print(f"differs  {line}")
    print(f"saved    {folder}")


if __name__ == "__main__":
    main()
