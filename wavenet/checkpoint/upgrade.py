"""Saved models and training checkpoints of earlier versions, brought to the format of this one.

Format 2 calls a model's metadata "metadata"; format 1 called it "about".
"""

from typing import Any

FORMAT_VERSION = 2
_CALLBACKS = {"LossWatch": "DivergenceMonitor"}  # names of callbacks before 2 and now


def upgrade_description(saved: Any) -> dict[str, Any]:
    """A saved model's description in today's format.

    Args:
        saved: What stands in `config.json`, or in a training checkpoint under "wavenet".

    Returns:
        Its "format_version", "model" and perhaps "metadata".

    Raises:
        ValueError: If it is none, or one of a format that this version does not know.
    """
    if not isinstance(saved, dict) or saved.get("format_version") not in (1, FORMAT_VERSION) or "model" not in saved:
        raise ValueError(f'not a model config of format_version 1 or {FORMAT_VERSION} with a "model" entry')
    if saved["format_version"] == FORMAT_VERSION:
        return saved
    upgraded = {name: value for name, value in saved.items() if name != "about"}
    return upgraded | {"format_version": FORMAT_VERSION} | ({"metadata": saved["about"]} if "about" in saved else {})


def upgrade_training_checkpoint(contents: dict[str, Any]) -> dict[str, Any]:
    """What a training checkpoint holds, in today's format.

    Args:
        contents: As the file holds it; tensors may be plans of them.

    Raises:
        ValueError: See `upgrade_description`.
    """
    description = upgrade_description(contents.get("wavenet"))
    if description is contents["wavenet"]:
        return contents
    upgraded = contents | {"wavenet": description}
    if isinstance(callbacks := contents.get("callbacks"), dict):
        upgraded["callbacks"] = {_CALLBACKS.get(name, name): state for name, state in callbacks.items()}
    return upgraded
