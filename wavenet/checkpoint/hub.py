"""Models of the Hugging Face Hub: a repository holds what `save` makes, and is read as any stranger's folder is."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wavenet.checkpoint.errors import CheckpointError, refusing
from wavenet.checkpoint.folder import CONFIG, WEIGHTS, read_config
from wavenet.checkpoint.metadata import printable
from wavenet.checkpoint.trust import Trust
from wavenet.checkpoint.validation import build_on_meta
from wavenet.untrusted import DESCRIPTION_LIMIT, TEXT_LIMIT

TOKENS = "https://huggingface.co/settings/tokens"
_PATIENCE = 20  # seconds for a first answer
_WIDEST = 8  # bytes of a number


def fetch(repo: str, revision: str | None = None, trust: Trust = ()) -> Path:
    """Bring a repository's `config.json` and `model.safetensors`, and nothing else, into the Hub's cache here.

    The config is fetched first: weights that are larger than those of the model that it describes are not. If the Hub
    is not to be reached, or HF_HUB_OFFLINE is set, what the cache holds is taken.

    Args:
        repo: "owner/name".
        revision: A branch, a tag or a commit; None is main.
        trust: Modules whose classes the model may be made of; see `wavenet.checkpoint.trust`.

    Returns:
        Their folder.

    Raises:
        CheckpointError: If there is no such repository, it holds no model, or the Hub is not to be reached.
    """
    try:
        import huggingface_hub  # noqa: PLC0415 - an optional extra
        from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f"{repo}: no such checkpoint here; if it is a repository on the Hugging Face Hub: "
            'pip install "wavenet[hub]"'
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
            raise CheckpointError(f"{repo}: holds no {name}; it is no model of this package, which wavenet.save makes")
    _check_size(f"{repo}/{CONFIG}", sizes[CONFIG], TEXT_LIMIT)
    folder = _download(repo, revision, [CONFIG])
    with refusing(Path(repo) / CONFIG):
        outline = build_on_meta(read_config(folder)["model"], trust=trust)
    most = _WIDEST * sum(tensor.numel() for tensor in outline.state_dict().values()) + DESCRIPTION_LIMIT
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
    """What was fetched earlier, since the Hub cannot be asked.

    Raises:
        CheckpointError: If nothing was.
    """
    import huggingface_hub  # noqa: PLC0415 - an optional extra

    why = "HF_HUB_OFFLINE is set" if huggingface_hub.constants.HF_HUB_OFFLINE else _words(error)
    try:
        folder = _download(repo, revision, [CONFIG, WEIGHTS], offline=True)
    except CheckpointError:
        folder = None
    if folder is None or not all((folder / name).is_file() for name in (CONFIG, WEIGHTS)):
        raise CheckpointError(
            f"{repo}: no such checkpoint here, and the Hugging Face Hub cannot be asked ({why}), nor was it fetched "
            "before; give a path, or connect to the network"
        ) from None
    if not huggingface_hub.constants.HF_HUB_OFFLINE:
        warnings.warn(f"{repo}: the Hub is not to be reached ({why}); what was fetched before is taken", stacklevel=2)
    return folder


def _check_size(place: str, size: int | None, most: int) -> None:
    if size is None or size > most:
        raise CheckpointError(f"{place}: has {size} bytes, and is not fetched; what it is for needs {most} at most")


@contextmanager
def one_line(repo: str, pushing: bool, token: str | None = None) -> Iterator[None]:
    """Make one line of whatever the Hub's client raises; nothing that could quote the token goes along with it.

    Args:
        repo: Which repository it is about.
        pushing: Whether something is to be written there.
        token: Where it is not that of this machine.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        raise _said(repo, error, pushing, token) from None


def _said(repo: str, error: Exception, pushing: bool, token: str | None = None) -> CheckpointError:
    """What to do about an error of the Hub's client."""
    while isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):  # what a thread of it raised
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind, owner = type(error).__name__, repo.split("/", maxsplit=1)[0]
    if kind == "RevisionNotFoundError":
        return CheckpointError(f"{repo}: has no such revision; give a branch, a tag or a commit of it")
    if kind == "GatedRepoError":
        return CheckpointError(f"{repo}: its owner has to let you in; ask on its page, then run hf auth login")
    if pushing and status == 401:
        return CheckpointError(f"{repo}: the Hub does not know this token; make one that may write at {TOKENS}")
    if pushing and status == 403:
        return CheckpointError(
            f"{repo}: this token may not write to {owner}; make one that may at {TOKENS}, or push to a name of yours"
        )
    if kind == "RepositoryNotFoundError" or status in (401, 403, 404):
        return CheckpointError(
            f"{repo}: no such checkpoint here, and no repository on the Hugging Face Hub that is open to you; mind the "
            "spelling, or run hf auth login if it is private"
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
