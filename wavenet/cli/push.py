"""`wavenet push`: upload a checkpoint to the Hugging Face Hub, with its model card."""

from pathlib import Path

from omegaconf import DictConfig

from wavenet import push_to_hub
from wavenet.cli.command import command, plain


@command("push")
def main(cfg: DictConfig) -> None:
    """Upload a model, and print its address."""
    url = push_to_hub(
        Path(cfg.checkpoint),
        cfg.repo,
        private=cfg.private,
        revision=cfg.revision,
        message=cfg.message,
        trust=plain(cfg.trust),
    )
    print(f"pushed to {url}")
    print("read its model card there, and fill in what is missing")


if __name__ == "__main__":
    main()
