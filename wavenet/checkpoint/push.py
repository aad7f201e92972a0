"""Publishing a model on the Hugging Face Hub."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from wavenet.checkpoint.card import HERE, card
from wavenet.checkpoint.errors import CheckpointError, refusing
from wavenet.checkpoint.folder import CARD, CONFIG, WEIGHTS, save
from wavenet.checkpoint.hub import TOKENS, one_line
from wavenet.checkpoint.loading import load
from wavenet.checkpoint.location import find
from wavenet.checkpoint.repository import is_repo
from wavenet.checkpoint.trust import Trust, check_trust
from wavenet.extras import install_command
from wavenet.model import WaveNet


def push_to_hub(
    model: WaveNet | str | os.PathLike[str],
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    revision: str | None = None,
    message: str = "Upload a WaveNet",
    trust: Trust = (),
) -> str:
    """Publish a model on the Hugging Face Hub, in one commit of `config.json`, `model.safetensors` and `README.md`.

    The card is the one that `save` writes. To change it first, save the model, edit its README.md, and push the
    folder. Other files in the repository are left alone, and its history keeps what is replaced.

    Args:
        model: A model; or a saved model, a run's folder or a training checkpoint, as for `load`.
        repo: "owner/name"; created if missing.
        private: Whether only its owner may see it.
        token: A token with write access, of https://huggingface.co/settings/tokens; None uses that of `hf auth login`
            or of the environment variable HF_TOKEN.
        revision: The branch, created if missing; None is main.
        message: Of the commit.
        trust: Modules whose classes a saved model may be made of, as for `load`. Their code is not pushed: whoever
            loads the model needs it, too.

    Returns:
        The URL of its page.

    Raises:
        CheckpointError: If the name is not valid, the model cannot be read, the Hub refuses or cannot be reached, or
            a private model would go to a public repository. The message never contains the token.
        ModuleNotFoundError: If huggingface-hub is not installed.
    """
    if not is_repo(repo):
        raise CheckpointError(f"{repo}: not the name of a repository; give owner/name, such as june/wavenet-june")
    try:
        import huggingface_hub  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"push_to_hub needs huggingface-hub: {install_command('hub')}") from error
    with tempfile.TemporaryDirectory(prefix="wavenet-") as temporary:
        folder = _folder_of(model, repo, Path(temporary) / "model", check_trust(trust))
        token = (token or huggingface_hub.get_token() or "").strip()
        if not re.fullmatch(r"[!-~]+", token):  # an error about another one would quote all of it
            raise CheckpointError(
                f"{repo}: pushing needs a token with write access{', and this is not one' * bool(token)}; create one "
                f"at {TOKENS}, then run hf auth login, or set HF_TOKEN; or, from Python, pass it as token="
            )
        api = huggingface_hub.HfApi(token=token, library_name="wavenet")
        with one_line(repo, pushing=True, token=token):
            url = str(api.create_repo(repo, private=private, exist_ok=True))
            if private and not api.model_info(repo).private:
                raise CheckpointError(
                    f"{repo}: is already public; make it private in its settings at {url}/settings, or push with "
                    "private=False"
                )
            if revision is not None:
                api.create_branch(repo, branch=revision, exist_ok=True)
            files = [
                huggingface_hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(folder / name))
                for name in (CONFIG, WEIGHTS, CARD)
            ]
            api.create_commit(repo, files, commit_message=message, revision=revision)
    return url if revision is None else f"{url}/tree/{revision}"


def _folder_of(model: WaveNet | str | os.PathLike[str], repo: str, folder: Path, trust: Trust) -> Path:
    """The folder to push: the files of a saved model as they are, or a model saved here."""
    path = None if isinstance(model, WaveNet) else find(Path(model), trust=trust)
    if path is not None and path.is_dir():
        loaded = load(path, trust=trust)  # fails for a model that nobody else could load
        folder.mkdir()
        for name in (CONFIG, WEIGHTS, CARD):
            if (path / name).is_file():
                shutil.copyfile(path / name, folder / name)
    else:
        loaded = load(path, trust=trust) if path is not None else model
        assert isinstance(loaded, WaveNet)
        save(loaded, folder)
    with refusing((path or Path(repo)) / CARD, fix="; save it as UTF-8"):
        text = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else ""
        written = [card(loaded), *([] if path is None else [card(loaded, path.name)])]  # by `save`, or in the package
        if text in ("", *written):
            text = card(loaded, repo)
        text = re.sub(rf'load\("{HERE}"\).*', f'load("{repo}")', text)
        (folder / CARD).write_text(text, encoding="utf-8")
    return folder
