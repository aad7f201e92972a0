"""Folders of data that come with the package: configs, recordings and models."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def package_folder(name: str) -> Path:
    """Return a folder that comes with the package: share/NAME inside an installed one, or beside it in a checkout.

    Args:
        name: Its path in a checkout, such as "data/prompts"; the wheel has it as wavenet/share/prompts (see
            pyproject.toml).
    """
    installed = _PACKAGE / "share" / Path(name).name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def checkout() -> Path | None:
    """Return the checkout that the package is part of; None if it was installed from a wheel."""
    return None if (_PACKAGE / "share").is_dir() else _PACKAGE.parent
