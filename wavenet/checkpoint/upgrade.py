"""Saved models, training checkpoints and runs' configs of earlier versions, brought to the format of this one.

Format 2 calls a model's metadata "metadata" (format 1: "about"), and conditioners on frames have their upsampling as a
part of its own (format 1: as flat arguments).
"""

import re
from typing import Any

FORMAT_VERSION = 2
_CALLBACKS = {"LossWatch": "DivergenceMonitor"}  # names of callbacks in format 1 and now
_ON_FRAMES = re.compile(r"wavenet\.conditioning(\.\w+)?\.(MelConditioner|F0Conditioner|FileConditioner)")
_UPSAMPLING = {  # arguments of these conditioners in format 1, and of Upsampling now
    "scales": "scales",
    "hold": "hold",
    "upsampling": "kind",
    "freq_kernel_size": "freq_kernel_size",
    "activation": "activation",
    "upsampling_bias": "bias",
}
_FILTERS = re.compile(r"(.*\bconditioners\.\w+)\.upsample\.((?:filters|biases)\.\d+)")


def upgrade_description(saved: Any) -> dict[str, Any]:
    """Return a saved model's description in the format of this version.

    Args:
        saved: The content of `config.json`, or of a training checkpoint's entry "wavenet".

    Returns:
        Its "format_version", "model" and perhaps "metadata".

    Raises:
        ValueError: If it is not such a description, or of a format that this version does not know.
    """
    if not isinstance(saved, dict) or saved.get("format_version") not in (1, FORMAT_VERSION) or "model" not in saved:
        raise ValueError(f'not a model config of format_version 1 or {FORMAT_VERSION} with a "model" entry')
    if saved["format_version"] == FORMAT_VERSION:
        return saved
    upgraded = {name: value for name, value in saved.items() if name != "about"}
    upgraded |= {"format_version": FORMAT_VERSION, "model": upgrade_model(saved["model"])}
    return upgraded | ({"metadata": saved["about"]} if "about" in saved else {})


def upgrade_model(config: Any) -> Any:
    """Return a model's config, as `describe` makes it or a run's config.yaml has it, in the format of this version."""
    if isinstance(config, list):
        return [upgrade_model(item) for item in config]
    if not isinstance(config, dict):
        return config
    config = {name: upgrade_model(value) for name, value in config.items()}
    if not _ON_FRAMES.fullmatch(str(config.get("_target_"))) or not isinstance(config.get("upsampling"), str):
        return config
    upsampling = {_UPSAMPLING[name]: config.pop(name) for name in _UPSAMPLING if name in config}
    return config | {"upsampling": {"_target_": "wavenet.nn.upsampling.Upsampling"} | upsampling}


def upgrade_state(state: Any, format_version: int) -> Any:
    """Return a model's tensors, or plans of them, under the names of this version.

    Args:
        state: The tensors by name.
        format_version: The format in which they were saved.
    """
    if format_version == FORMAT_VERSION or not isinstance(state, dict):
        return state
    return {_FILTERS.sub(r"\1.upsampling.\2", name) if isinstance(name, str) else name: t for name, t in state.items()}


def upgrade_training_checkpoint(contents: dict[str, Any]) -> dict[str, Any]:
    """Return the contents of a training checkpoint in the format of this version.

    Args:
        contents: As the file holds it; tensors may be plans of them.

    Raises:
        ValueError: See `upgrade_description`.
    """
    description = upgrade_description(contents.get("wavenet"))
    if description is contents["wavenet"]:
        return contents
    upgraded = contents | {"wavenet": description}
    for name in ("state_dict", "current_model_state"):
        if name in contents:
            upgraded[name] = upgrade_state(contents[name], format_version=1)
    if isinstance(callbacks := contents.get("callbacks"), dict):
        upgraded["callbacks"] = {_CALLBACKS.get(name, name): state for name, state in callbacks.items()}
    return upgraded
