"""Models pushed to, and loaded from, a stand-in of the Hugging Face Hub."""

import json
import os
import pickle
import re
import subprocess
import sys

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

import wavenet
from tests.conftest import ROOT
from tests.hub import READER, WRITER, served
from wavenet.checkpoint import CheckpointError, describe
from wavenet.checkpoint.card import card
from wavenet.extras import install_command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Use .content=<:DeprecationWarning"),  # the client's own
]
FILES = {"README.md", "config.json", "model.safetensors"}


@pytest.fixture
def hub(monkeypatch, tmp_path, in_tmp):
    """A stand-in that the client takes for the Hub, with an empty cache and no token; nothing else can be reached."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "hf"
    with served() as hub:
        places = {"HF_HUB_CACHE": home / "hub", "HF_TOKEN_PATH": home / "token", "HF_STORED_TOKENS_PATH": home / "all"}
        for name, value in places.items():
            monkeypatch.setattr(constants, name, str(value))
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        huggingface_hub.close_session()
        yield hub
        huggingface_hub.close_session()


def saved(model, folder):
    wavenet.save(model, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(model, other):
    theirs = other.state_dict()
    return describe(model) == describe(other) and all(torch.equal(t, theirs[n]) for n, t in model.state_dict().items())


def test_what_is_pushed_is_loaded_to_the_bit(hub, small):
    model = small(("ann", "bob"))
    model.metadata = {"data": {"name": "birds", "licences": [{"name": "CC0-1.0"}]}}
    assert wavenet.push_to_hub(model, "june/birds", token=WRITER) == f"{hub.url}/june/birds"
    repo = hub.repos["june/birds"]
    assert set(repo.files) == FILES | {".gitattributes"} and not repo.private
    assert repo.messages == ["", "Upload a WaveNet"]  # one commit
    card = repo.files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: wavenet\n") and "license: cc0-1.0\n" in card
    assert 'wavenet.load("june/birds")' in card and "# birds" in card
    again = wavenet.load("june/birds")
    assert same(again, model) and again.metadata == model.metadata and not again.training
    made = [wavenet.generate(each, 0.05, speaker="bob", seed=3, backend="reference") for each in (model, again)]
    assert torch.equal(*made)
    assert hub.fetched() == {"config.json", "model.safetensors"}


def test_pushing_again_a_branch_and_a_private_one(hub, small, monkeypatch):
    first, second = small(("ann",)), small(("ann",), kernel_size=3)
    wavenet.push_to_hub(first, "june/x", private=True, token=WRITER)
    assert hub.repos["june/x"].private
    url = wavenet.push_to_hub(second, "june/x", private=True, token=WRITER, revision="wide", message="wider")
    assert url == f"{hub.url}/june/x/tree/wide" and hub.repos["june/x"].messages[-1] == "wider"
    with pytest.raises(CheckpointError, match=r"^june/x: no such checkpoint here, and no repository .* hf auth login"):
        wavenet.load("june/x")
    monkeypatch.setenv("HF_TOKEN", READER)
    assert same(wavenet.load("june/x"), first)
    assert same(wavenet.load("june/x", revision="wide"), second)
    assert same(wavenet.load("june/x", revision=hub.repos["june/x"].branches["wide"]), second)
    with pytest.raises(CheckpointError, match=r"^june/x: has no such revision; give a branch"):
        wavenet.load("june/x", revision="narrow")


def test_a_model_of_the_package_is_pushed_by_its_name(hub, small, tmp_path, monkeypatch):
    model = small(("ann",))
    folder = wavenet.save(model, tmp_path / "models" / "babble")
    (folder / "README.md").write_text(card(model, "babble"))
    (folder / "evaluation.json").write_text("{}")
    monkeypatch.setattr("wavenet.checkpoint.packaged.package_folder", lambda name: tmp_path / "models")
    wavenet.push_to_hub("babble", "june/mine", token=WRITER)
    pushed = hub.repos["june/mine"].files
    assert set(pushed) == FILES | {".gitattributes"} and pushed["README.md"].decode() == card(model, "june/mine")
    assert same(wavenet.load("june/mine"), wavenet.load("babble"))


def test_a_private_model_does_not_go_to_a_public_repository(hub, small):
    hub.make("june/open", {"README.md": b"mine"})
    with pytest.raises(CheckpointError, match=r"^june/open: is already public; .*/june/open/settings, or"):
        wavenet.push_to_hub(small(), "june/open", private=True, token=WRITER)
    assert set(hub.repos["june/open"].files) == {"README.md"}


def test_a_saved_folder_is_pushed_with_the_card_that_its_owner_wrote(hub, small, tmp_path):
    files = saved(small(("ann",)), tmp_path / "mine")
    card = files["README.md"].decode().replace("# A WaveNet", "# Ann, at last")
    (here,) = re.findall(r'load\("FOLDER"\).*', card)
    (tmp_path / "mine" / "README.md").write_text(card)
    (tmp_path / "mine" / "diary.txt").write_text("private")
    wavenet.push_to_hub("mine", "june/ann", token=WRITER)
    pushed = hub.repos["june/ann"].files
    assert set(pushed) == FILES | {".gitattributes"}
    assert pushed["model.safetensors"] == files["model.safetensors"] and pushed["config.json"] == files["config.json"]
    assert pushed["README.md"].decode() == card.replace(here, 'load("june/ann")')
    before = len(hub.requests)
    (tmp_path / "mine" / "README.md").write_bytes(b"Zo\xeb")
    with pytest.raises(CheckpointError, match=r"^mine/README\.md: .*; save it as UTF-8$"):
        wavenet.push_to_hub("mine", "june/ann", token=WRITER)
    (tmp_path / "mine" / "model.safetensors").write_bytes(pickle.dumps({}))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not readable"):
        wavenet.push_to_hub("mine", "june/ann", token=WRITER)
    with pytest.raises(CheckpointError, match="typo: no such checkpoint"):
        wavenet.push_to_hub("typo", "june/ann", token=WRITER)
    assert len(hub.requests) == before


@pytest.mark.parametrize(
    ("repo", "token", "message"),
    [
        ("june/x", None, "june/x: pushing needs a token with write access; create .* hf auth login, or .* token="),
        ("june/x", "hf_forgotten", "june/x: the Hub rejects this token; create one with write access at "),
        ("june/x", READER, "june/x: this token has no write access to june; create one"),
        ("carlo/x", WRITER, "carlo/x: this token has no write access to carlo; create one"),
        ("june/x", "hf_forgotten\n", "june/x: the Hub rejects this token; create one with write access at "),
        ("june/x", "hf_for\ngotten", "june/x: pushing needs a token with write access, and this is not one; create"),
        ("june", WRITER, "june: not the name of a repository; give owner/name"),
        ("june/x/y", WRITER, "june/x/y: not the name of a repository"),
        ("../x", WRITER, r"\.\./x: not the name of a repository"),
    ],
)
def test_a_push_without_permission_is_refused_in_one_line(hub, small, repo, token, message, capsys):
    with pytest.raises(CheckpointError, match=f"^{message}") as caught:
        wavenet.push_to_hub(small(), repo, token=token)
    assert "\n" not in str(caught.value) and hub.repos == {}
    seen = [str(caught.value), *capsys.readouterr(), repr(caught.value.__cause__)]
    assert caught.value.__suppress_context__ or caught.value.__context__ is None  # no traceback shows another
    assert token is None or not any("gotten" in each or token in each for each in seen)


def test_a_missing_repository_or_file_is_reported_in_one_line(hub, small, tmp_path):
    with pytest.raises(CheckpointError, match=r"^june/nothing: no such checkpoint here, and no repository") as caught:
        wavenet.load("june/nothing")
    assert "\n" not in str(caught.value)
    hub.make("june/other", {"README.md": b"", "pytorch_model.bin": pickle.dumps({})})
    with pytest.raises(CheckpointError, match=r"^june/other: holds no config\.json; it is not a model saved by"):
        wavenet.load("june/other")
    assert hub.fetched() == set()


def test_a_mistyped_path_is_not_looked_for_on_the_hub(hub, small, tmp_path):
    (tmp_path / "models").mkdir()
    reasons = {
        "runs/typo": "runs/ is where training writes",
        "models/typo": "there is models here",
        "june/last.ckpt": "it ends in .ckpt",
    }
    for path, why in reasons.items():
        with pytest.raises(CheckpointError, match=rf"^{path}: no such checkpoint; .*looked for on .* because {why}\)$"):
            wavenet.load(path)
    for path in (tmp_path / "a" / "b", "./june/x", "june/x/y", "june", "../june/x"):
        with pytest.raises(CheckpointError, match=r"no such checkpoint; give a run's folder, a .* saved model$"):
            wavenet.load(path)
    saved(small(), tmp_path / "models" / "mine")
    assert wavenet.load("models/mine").sample_rate == 2000  # what is here goes before what is there
    with pytest.raises(CheckpointError, match="revision=main is for a repository on the Hub"):
        wavenet.load("models/mine", revision="main")
    assert hub.requests == []
    hub.make("models/typo", saved(small(), tmp_path / "saved"))
    assert wavenet.load("models/typo", revision="main").sample_rate == 2000  # who names a revision means the Hub


def with_config(files, change):
    config = json.loads(files["config.json"])
    change(config)
    return files | {"config.json": json.dumps(config).encode()}


def test_a_hostile_repository_is_refused_and_nothing_else_of_it_is_fetched(hub, small, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'bomb-went-off'}",)

    bomb = pickle.dumps(Bomb())
    good = saved(small(), tmp_path / "good")
    more = {"model.ckpt": bomb, "modeling.py": b"import os", "sub/config.json": b"{}", "README.md": b"---\n"}
    target = {"_target_": "os.system"}
    repos = {
        "pickle": (good | {"model.safetensors": bomb}, "not readable as safetensors"),
        "target": (with_config(good, lambda c: c["model"].update(distribution=target)), "'os.system' is not one of"),
        "large": (with_config(good, lambda c: c["model"].update(num_cycles=10**9)), "a whole number from 1 to 500"),
        "metadata": (with_config(good, lambda c: c.update(metadata={"x": "\x1b[31m"})), "control characters"),
        "invisible": (with_config(good, lambda c: c.update(metadata={"x": "\u202e"})), "cannot be printed"),
        "lists": (
            with_config(good, lambda c: c.update(metadata={"x": "x" * 4000, "y": ["x" * 4000] * 40})),
            "are allowed",
        ),
    }
    for name, (files, message) in repos.items():
        hub.make(f"eve/{name}", files | more)
        with pytest.raises(CheckpointError, match=message) as caught:
            wavenet.load(f"eve/{name}")
        assert "\n" not in str(caught.value)
    assert hub.fetched() <= {"config.json", "model.safetensors"}
    assert not any("sub" in each for each in hub.requests)
    assert not (tmp_path / "bomb-went-off").exists()


def test_what_is_too_large_is_not_fetched(hub, small, tmp_path):
    hub.make("eve/x", saved(small(), tmp_path / "good"))
    hub.sizes["model.safetensors"] = 10**12
    with pytest.raises(
        CheckpointError, match=r"^eve/x/model\.safetensors: has 1000000000000 bytes, and is not downloaded"
    ):
        wavenet.load("eve/x")
    assert hub.fetched() == {"config.json"}
    hub.sizes["config.json"] = 2**21 + 1
    with pytest.raises(CheckpointError, match=r"^eve/x/config\.json: has 2097153 bytes, and is not downloaded"):
        wavenet.load("eve/x")


def test_offline_and_unreachable(hub, small, tmp_path, monkeypatch):
    model = small(("ann",))
    hub.make("june/x", saved(model, tmp_path / "saved"))
    wavenet.load("june/x")
    before = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    assert same(wavenet.load("june/x"), model)
    with pytest.raises(CheckpointError, match=r"^june/y: no such .* cannot be reached \(HF_HUB_OFFLINE is set\), nor"):
        wavenet.load("june/y")
    assert len(hub.requests) == before
    with pytest.raises(CheckpointError, match=r"^june/x: could not be pushed \(OfflineModeIsEnabled"):
        wavenet.push_to_hub(model, "june/x", token=WRITER)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()
    hub.down = True
    with pytest.warns(UserWarning, match=r"^june/x: the Hub cannot be reached \(.*503.*the cached files"):
        assert same(wavenet.load("june/x"), model)
    with pytest.raises(CheckpointError, match=r"^june/y: no such checkpoint here, and .* cannot be reached \(.*503"):
        wavenet.load("june/y")


def test_a_token_is_not_shown_when_fetching_fails(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_for gotten\tö")  # which no header can hold
    with pytest.raises(CheckpointError) as caught:
        wavenet.load("june/x")
    assert "gotten" not in str(caught.value) and caught.value.__suppress_context__


def test_without_the_extra(monkeypatch, in_tmp, small):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    install = re.escape(install_command("hub"))
    with pytest.raises(CheckpointError, match=f"^june/x: no such checkpoint here; .*: {install}$"):
        wavenet.load("june/x")
    with pytest.raises(ModuleNotFoundError, match=f"^push_to_hub needs huggingface-hub: {install}$"):
        wavenet.push_to_hub(small(), "june/x")


def test_the_command_line_in_a_process_of_its_own(hub, small, tmp_path):
    hub.make("june/x", saved(small(("ann",)), tmp_path / "saved"))
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}

    environment |= {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "wavenet.cli.generate", "checkpoint=june/x", "seconds=0.05", "backend=reference"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.wav").is_file()


def test_the_command_pushes(hub, small, tmp_path, run, monkeypatch):
    model = small(("ann",))
    saved(model, tmp_path / "mine")
    with pytest.raises(AssertionError, match="exit 2\n\nwavenet push: june/x: pushing needs a token"):
        run("push", "checkpoint=mine", "repo=june/x")
    monkeypatch.setenv("HF_TOKEN", WRITER)
    output = run("push", "checkpoint=mine", "repo=june/x", "private=true", "message=mine")
    assert f"pushed to {hub.url}/june/x\n" in output and WRITER not in output
    assert hub.repos["june/x"].private and hub.repos["june/x"].messages[-1] == "mine"
    assert same(wavenet.load("june/x"), model)
    with pytest.raises(AssertionError, match="exit 2\n\nwavenet push: june/x: no such checkpoint; give a run"):
        run("push", "checkpoint=june/x", "repo=june/y")  # of the Hub, and not of this machine


def test_a_model_of_the_hub_is_evaluated(hub, small, tmp_path, run, speech):
    hub.make("june/x", saved(small(("allison", "carlo", "june")), tmp_path / "saved"))
    output = run(
        "evaluate", "checkpoint=june/x", "dataset=folder", f"dataset.root={speech}",
        "dataset.speakers_from_folders=true",
    )  # fmt: skip
    assert "written to evaluation.json" in output
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert set(result["bits_per_sample"]) >= {"allison", "carlo", "june"}
    with pytest.raises(AssertionError, match="the run's dataset is unknown; give dataset=NAME"):
        run("evaluate", "checkpoint=june/x")
    with pytest.raises(
        AssertionError, match="exit 2\n\nwavenet evaluate: june/typo: no such checkpoint here, and no rep"
    ):
        run("evaluate", "checkpoint=june/typo")
