"""`wavenet push`: a checkpoint on the Hugging Face Hub, with its card."""

from pathlib import Path

from omegaconf import DictConfig

from wavenet import push_to_hub
from wavenet.cli.command import command, plain


@command("push")
def main(cfg: DictConfig) -> None:
    """Publish a model, and say where."""
    where = push_to_hub(
        Path(cfg.checkpoint),
        cfg.repo,
        private=cfg.private,
        revision=cfg.revision,
        message=cfg.message,
        trust=plain(cfg.trust),
    )
    print(f"pushed to {where}")
    print("read its card there, and fill in what it does not know")


if __name__ == "__main__":
    main()
