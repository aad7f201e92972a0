"""Models on the Hugging Face Hub: a repository holds what `save` writes, and is read as an untrusted folder."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wavenet.checkpoint.errors import CheckpointError, refusing
from wavenet.checkpoint.folder import CONFIG, WEIGHTS, read_config
from wavenet.checkpoint.metadata import printable
from wavenet.checkpoint.plain_data import TEXT_LIMIT
from wavenet.checkpoint.safetensors_file import HEADER_LIMIT
from wavenet.checkpoint.trust import Trust
from wavenet.checkpoint.validation import build_on_meta
from wavenet.extras import install_command

TOKENS = "https://huggingface.co/settings/tokens"
_PATIENCE = 20  # seconds, for the first response
_WIDEST = 8  # bytes of a number


def fetch(repo: str, revision: str | None = None, trust: Trust = ()) -> Path:
    """Download a repository's `config.json` and `model.safetensors`, and nothing else, into the local cache.

    The config comes first: weights that are larger than those of the model that it describes are not downloaded. If the
    Hub cannot be reached, or HF_HUB_OFFLINE is set, the cached files are used.

    Args:
        repo: "owner/name".
        revision: A branch, a tag or a commit; None is main.
        trust: Modules whose classes the model may be made of; see `wavenet.checkpoint.trust`.

    Returns:
        Their folder.

    Raises:
        CheckpointError: If there is no such repository, it holds no model, or the Hub cannot be reached.
    """
    try:
        import huggingface_hub  # noqa: PLC0415 - an optional extra
        from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f"{repo}: no such checkpoint here; if it is a repository on the Hugging Face Hub: {install_command('hub')}"
        ) from error
    try:
        info = huggingface_hub.HfApi(library_name="wavenet").model_info(
            repo, revision=revision, files_metadata=True, timeout=_PATIENCE
        )
    except Exception as error:
        if isinstance(error, HfHubHTTPError) and 400 <= error.response.status_code < 500:
            raise _said(repo, error, pushing=False) from None
        return _of_cache(repo, revision, error)
    sizes: dict[str, Any] = {file.rfilename: file.size for file in info.siblings or []}
    for name in (CONFIG, WEIGHTS):
        if name not in sizes:
            raise CheckpointError(f"{repo}: holds no {name}; it is not a model saved by wavenet.save")
    _check_size(f"{repo}/{CONFIG}", sizes[CONFIG], TEXT_LIMIT)
    folder = _download(repo, revision, [CONFIG])
    with refusing(Path(repo) / CONFIG):
        outline = build_on_meta(read_config(folder)["model"], trust=trust)
    most = _WIDEST * sum(tensor.numel() for tensor in outline.state_dict().values()) + HEADER_LIMIT
    _check_size(f"{repo}/{WEIGHTS}", sizes[WEIGHTS], most)
    return _download(repo, revision, [CONFIG, WEIGHTS])


def _download(repo: str, revision: str | None, files: list[str], offline: bool = False) -> Path:
    import huggingface_hub  # noqa: PLC0415 - an optional extra

    with one_line(repo, pushing=False):
        folder = huggingface_hub.snapshot_download(
            repo, revision=revision, allow_patterns=files, library_name="wavenet", local_files_only=offline
        )
    return Path(folder)


def _of_cache(repo: str, revision: str | None, error: Exception) -> Path:
    """Return the files downloaded earlier, as the Hub cannot be reached.

    Raises:
        CheckpointError: If there are none.
    """
    import huggingface_hub  # noqa: PLC0415 - an optional extra

    why = "HF_HUB_OFFLINE is set" if huggingface_hub.constants.HF_HUB_OFFLINE else _words(error)
    try:
        folder = _download(repo, revision, [CONFIG, WEIGHTS], offline=True)
    except CheckpointError:
        folder = None
    if folder is None or not all((folder / name).is_file() for name in (CONFIG, WEIGHTS)):
        raise CheckpointError(
            f"{repo}: no such checkpoint here, and the Hugging Face Hub cannot be reached ({why}), nor is it "
            "in the cache; give a path, or connect to the network"
        ) from None
    if not huggingface_hub.constants.HF_HUB_OFFLINE:
        warnings.warn(f"{repo}: the Hub cannot be reached ({why}); the cached files are used", stacklevel=2)
    return folder


def _check_size(place: str, size: int | None, most: int) -> None:
    if size is None or size > most:
        raise CheckpointError(f"{place}: has {size} bytes, and is not downloaded; it needs at most {most}")


@contextmanager
def one_line(repo: str, pushing: bool, token: str | None = None) -> Iterator[None]:
    """Turn any error of the Hub's client into one line that cannot contain the token.

    Args:
        repo: Which repository it is about.
        pushing: Whether it was about writing.
        token: The token used, if it is not that of this machine.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        raise _said(repo, error, pushing, token) from None


def _said(repo: str, error: Exception, pushing: bool, token: str | None = None) -> CheckpointError:
    """The error to raise for one of the Hub's client."""
    while isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):  # raised in one of its threads
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind, owner = type(error).__name__, repo.split("/", maxsplit=1)[0]
    if kind == "RevisionNotFoundError":
        return CheckpointError(f"{repo}: has no such revision; give a branch, a tag or a commit of it")
    if kind == "GatedRepoError":
        return CheckpointError(f"{repo}: its owner grants access; request it on its page, then run hf auth login")
    if pushing and status == 401:
        return CheckpointError(f"{repo}: the Hub rejects this token; create one with write access at {TOKENS}")
    if pushing and status == 403:
        return CheckpointError(
            f"{repo}: this token has no write access to {owner}; create one at {TOKENS}, or push to an owner of yours"
        )
    if kind == "RepositoryNotFoundError" or status in (401, 403, 404):
        return CheckpointError(
            f"{repo}: no such checkpoint here, and no repository on the Hugging Face Hub that you can access; check "
            "the spelling, or run hf auth login if it is private"
        )
    what = "could not be pushed" if pushing else "could not be fetched"
    return CheckpointError(f"{repo}: {what} ({_words(error, token)}); try again later")


def _words(error: Exception, token: str | None = None) -> str:
    """An error's message, printable and short, without the token."""
    import huggingface_hub  # noqa: PLC0415 - an optional extra

    text = re.sub(r"Bearer .*", "Bearer ***", f"{type(error).__name__}: {error}")
    for secret in (token, huggingface_hub.get_token()):
        text = text.replace(secret, "***") if secret else text
    return printable(text, 200)
