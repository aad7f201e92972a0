"""Text that OmegaConf would take for a reference, `${...}` or `???`, in a config as itself."""

import re
from typing import Any
from urllib.parse import quote

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

_MISSING = "???"
_LITERAL_MISSING = "${oc.decode:\"'???'\"}"  # OmegaConf has no escape for it
_REFERENCE = re.compile(r"(\\*)\$\{")


def literal(text: str) -> str:
    r"""Return what a config has to contain for a text.

    >>> print(literal("${oc.env:HOME}"), literal("june"))
    \${oc.env:HOME} june
    """
    return _LITERAL_MISSING if text == _MISSING else _REFERENCE.sub(r"\1\1\\${", text)


def is_literal(text: str) -> bool:
    r"""Return whether a config's text is nothing that OmegaConf resolves, but what `literal` returns.

    >>> is_literal(r"\${x}"), is_literal("${x}"), is_literal(r"\\${x}"), is_literal("???")
    (True, False, False, False)
    """
    if text in (_MISSING, _LITERAL_MISSING):
        return text == _LITERAL_MISSING
    return all(len(found[1]) % 2 for found in _REFERENCE.finditer(text))


def literals(settings: Any) -> Any:
    """Return plain data with all texts as a config has to contain them."""
    if isinstance(settings, dict):
        return {name: literals(value) for name, value in settings.items()}
    if isinstance(settings, list):
        return [literals(value) for value in settings]
    return literal(settings) if isinstance(settings, str) else settings


def build(group: str, cfg: DictConfig, **arguments: Any) -> Any:
    """Build the object that a group of a config describes.

    Args:
        group: The group's key, for messages.
        cfg: The group.
        arguments: Further arguments of its constructor.

    Raises:
        InstantiationException: If it cannot be built.
    """
    settings = OmegaConf.create({group: _built_late(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))})
    return instantiate(settings[group], **arguments, _convert_="all")


def _built_late(settings: Any) -> Any:
    """Return plain data with calls in place of texts that look like references.

    `instantiate` resolves twice: first what is escaped, then the result.
    """
    if isinstance(settings, dict):
        return {name: _built_late(value) for name, value in settings.items()}
    if isinstance(settings, list):
        return [_built_late(value) for value in settings]
    if isinstance(settings, str) and (settings == _MISSING or "${" in settings):
        call = {"_target_": "urllib.parse.unquote", "errors": "surrogatepass"}
        return call | {"string": quote(settings, errors="surrogatepass")}
    return settings
