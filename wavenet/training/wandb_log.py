"""A logger for Weights & Biases."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from wavenet.extras import install_command


class WandbLog(WandbLogger):
    """Sends a run's metrics, settings, audio and spectrograms to Weights & Biases, or stores them for later.

    The data is also stored in `wandb/` in the run's folder. A resumed run continues under the same id. It logs
    the steps after its checkpoint again, with the same values.

    Args:
        save_dir: The run's folder.
        project: Name of the project.
        name: Name of the run; None uses that of its folder.
        offline: Store only, so that `wandb sync` can send it later.
        purge_step: A step for a resumed run; None for a new one.

    Raises:
        ModuleNotFoundError: If wandb is not installed.
    """

    def __init__(
        self,
        save_dir: str,
        project: str = "wavenet",
        name: str | None = None,
        offline: bool = False,
        purge_step: int | None = None,
    ) -> None:
        if find_spec("wandb") is None:
            raise ModuleNotFoundError(f"the log for Weights & Biases needs wandb: {install_command('wandb')}")
        import wandb  # noqa: PLC0415  # an extra

        folder = Path(save_dir).absolute()  # the writing process may have another working directory
        super().__init__(
            name=name or folder.name,
            save_dir=str(folder),
            id=None if purge_step is None else _last_id(folder),
            project=project,
            mode="offline" if offline else None,
            settings=wandb.Settings(symlink=False),  # a run's folder that contains links cannot be resumed
        )
        self._wandb_init.pop("anonymous", None)  # wandb warns about it, whatever its value

    @rank_zero_only
    def begin(self, settings: dict[str, Any]) -> None:
        """Register the run and its settings before the first step.

        Args:
            settings: Settings of the run, as plain data.

        Raises:
            ValueError: If no user is logged in, or the server cannot be reached.
        """
        import wandb  # noqa: PLC0415  # an extra

        Path(str(self.save_dir)).mkdir(parents=True, exist_ok=True)
        try:
            self.log_hyperparams(settings)
        except wandb.Error as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise ValueError(
                f"logger=wandb: {reason}; log in by `wandb login`, or use logger.offline=true and `wandb sync` later"
            ) from error

    @rank_zero_only
    def show(self, name: str, waveform: Tensor, sample_rate: int, picture: Tensor, step: int) -> None:
        """Log a waveform and its spectrogram.

        Args:
            name: Name of the entry.
            waveform: (T,) in [-1, 1].
            sample_rate: Hz.
            picture: (3, height, width) in [0, 1].
            step: Optimizer steps taken.
        """
        self.log_audio(f"{name}/audio", [waveform.numpy()], step, sample_rate=[sample_rate])
        self.log_image(f"{name}/spectrogram", [picture.permute(1, 2, 0).numpy()], step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write and send everything, and mark the run as finished."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None


def _last_id(run: Path) -> str | None:
    """Return the run's id, from the newest file `wandb/[offline-]run-DATE_TIME-ID/run-ID.wandb`.

    The folder's name does not tell it: a second one within the same second ends in "-1".
    """
    files = (run / "wandb").glob("*run-*/run-*.wandb")
    newest = max(files, key=lambda file: file.parent.name.removeprefix("offline-"), default=None)
    return newest.stem.removeprefix("run-") if newest else None
