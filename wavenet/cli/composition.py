"""Hydra outside of a command: configs are composed, and an application that uses Hydra itself notices nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra


@contextmanager
def hydra_in(folder: Path) -> Iterator[None]:
    """Let Hydra compose the configs of a folder within the block; afterwards its state is what it was before.

    Args:
        folder: The folder of the configs.
    """
    outer: Any = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().clear()  # another instance: Hydra replaces it
        if outer is not None:
            GlobalHydra.instance().initialize(outer)
