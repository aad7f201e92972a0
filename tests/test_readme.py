"""The Python and the configs of the README and the manual are run as they stand there, and the pictures are drawn."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import wavenet
from tests.conftest import CHROMIUM, PROMPTS, ROOT, TINY
from tests.test_manual import blocks
from wavenet.data import prepare

(LOAD,) = blocks("README.md", "python")
MIX, *_ = blocks("data/guide/data.md", "python")
(GENERATE,) = blocks("data/guide/generate.md", "python")
SAVE, ONNX = blocks("data/guide/share.md", "python")
(TRAIN,) = blocks("data/guide/train.md", "python")
(RESYNTHESISE,) = blocks("data/guide/vocoder.md", "python")
DATASET, PARTS = blocks("data/guide/your-own-parts.md", "python")
(MIX_CONFIG,) = blocks("data/guide/data.md", "yaml")
CALLBACK, _ = blocks("data/guide/train.md", "yaml")


def test_both_languages_show_the_same_code():
    english, japanese = (
        [re.sub(r"\s+#.*", "", block) for language in ("", "python") for block in blocks(name, language)]
        for name in ("README.md", "README.ja.md")
    )
    assert len(english) > 3
    assert english == japanese


def test_the_readme_s_python_makes_sound(run, in_tmp):
    run("train", *TINY, "run_dir=runs/NAME", "logger=none")
    names = {}
    exec(LOAD.replace("seconds=2", "seconds=0.1"), names)
    assert soundfile.info("june.wav").frames == 800
    exec(SAVE, names)
    assert (in_tmp / "june" / "model.safetensors").is_file()


def test_python_that_generates(in_tmp):
    names = {}
    exec(GENERATE, names)
    assert soundfile.info("june.wav").frames == names["audio"].shape[1] == 16000
    assert names["chunk"].shape == (1, 4000)
    assert (names["chunk"] == names["audio"][:, :4000]).all()  # of the same seed
    shutil.copy(PROMPTS / "june" / "june_001.flac", "recording.wav")
    exec(RESYNTHESISE, names)
    assert soundfile.info("out.wav").duration == pytest.approx(soundfile.info("recording.wav").duration, abs=0.001)


@pytest.mark.slow
def test_python_that_trains(in_tmp):
    names = {}
    code = TRAIN.replace("steps=2000", "steps=2").replace("validate_every=1000", "validate_every=2")
    exec(code.replace("steps=4000", "steps=4"), names)
    assert 0 < names["run"].bits_per_sample < 9
    assert (in_tmp / "runs" / "first" / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
def test_a_callback_of_ones_own(run, in_tmp, monkeypatch):
    monkeypatch.syspath_prepend(in_tmp)
    (in_tmp / "conf" / "callbacks").mkdir(parents=True)
    (in_tmp / "conf" / "callbacks" / "mine.yaml").write_text(CALLBACK)
    (in_tmp / "mymodule.py").write_text(
        "from lightning.pytorch.callbacks import Callback\n\n\n"
        "class MyCallback(Callback):\n"
        "    def __init__(self, every: int) -> None:\n        self.every = every\n\n"
        "    def on_train_start(self, trainer, pl_module):\n        print('every', self.every)\n"
    )
    assert "every 100" in run("train", "--config-dir", "conf", *TINY, "callbacks=mine", "logger=none")


def test_an_exported_model_generates_without_torch(run, in_tmp):
    run("train", *TINY, "run_dir=runs/NAME", "logger=none", "samples.final_seconds=0")
    run("export_onnx", "checkpoint=runs/NAME", "output=exported")
    code = ONNX.replace('range(model["sample_rate"])', "range(800)")
    assert code != ONNX and len(code.splitlines()) <= 30
    before = "import sys; sys.modules['torch'] = None\n"  # so that importing it raises
    ended = subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    audio, rate = soundfile.read("june.wav")
    assert (rate, len(audio)) == (8000, 800)
    assert len(np.unique(audio)) > 50  # of 256 levels; a model that was not trained draws nearly all of them


def test_two_folders_as_one_dataset(run, in_tmp):
    (in_tmp / "conf" / "dataset").mkdir(parents=True)
    (in_tmp / "conf" / "dataset" / "voices.yaml").write_text(MIX_CONFIG)
    for name in ("studio", "phone"):
        for speaker, number in (("june", "001"), ("june", "002")):
            place = in_tmp / "recordings" / name / f"{speaker}_{number}.flac"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "data" / "prompts" / speaker / place.name, place)
    output = run("train", "--config-dir", "conf", *TINY, "dataset=voices", "logger=none")
    assert "data     mix of phone, studio: 2 speaker(s)" in output and "min, 75.0 % of the segments; studio" in output
    names = {}
    exec(MIX.replace('Folder("', 'Folder("recordings/'), names)
    assert [len(names[part].utterances) for part in ("train", "held_out")] == [2, 2]


def test_a_dataset_in_one_file(in_tmp):
    (in_tmp / "birds").mkdir()
    for name in ("thrush_001", "wren_001"):
        soundfile.write(in_tmp / "birds" / f"{name}.wav", np.sin(np.arange(8000) / 5) / 2, 8000)
    names = {}
    exec(DATASET, names)
    corpus = prepare(names["Birds"]("birds"), 8000, "cache", progress=False)
    assert corpus.values("speaker") == ["thrush", "wren"]


@pytest.mark.filterwarnings("default:.*several times as long as it could.*", "default:.*slower backend.*")
def test_parts_of_ones_own(run, in_tmp, speech):
    (in_tmp / "mymodel.py").write_text(PARTS)
    common = [*TINY, "logger=none", "dataset=folder", f"dataset.root={speech}"]
    layer = "model.make_layer={_target_: mymodel.Softer, _partial_: true}"
    run("train", *common, "model._target_=mymodel.Sharper", "+model.gain=2", layer, "run_dir=r")
    with pytest.raises(AssertionError, match=r"exit 2[\s\S]*trust=\[mymodel\]"):
        run("generate", "checkpoint=r", "seconds=0.01")
    run("train", "resume=r", "trust=[mymodel]", "trainer.max_steps=3")
    run("generate", "checkpoint=r", "trust=[mymodel]", "seconds=0.01")
    model = wavenet.load("r", trust=["mymodel"])
    assert (model.gain, type(model.stack.layers[0]).__name__) == (2, "Softer")
    run(
        "train",
        *common,
        "optimizer=adamw",
        "+optimizer._target_=torch.optim.RMSprop",
        "~optimizer.betas",
        "run_dir=other",
    )


def test_the_pictures(run, in_tmp, speech):
    run("train", *TINY, "run_dir=r", "logger=none", "dataset=folder", f"dataset.root={speech}")
    command = [sys.executable, str(ROOT / "scripts" / "figures.py")]
    drawn = subprocess.run([*command, "r", "pictures"], capture_output=True, text=True, timeout=120)
    assert drawn.returncode == 0, drawn.stderr
    for name in ("stack.png", "generated.png"):
        assert (in_tmp / "pictures" / name).read_bytes().startswith(b"\x89PNG")
        assert (ROOT / "data" / "figures" / name).is_file()
        assert f"data/figures/{name}" in (ROOT / "README.md").read_text(encoding="utf-8")
    made, committed = (
        soundfile.read(folder / "babble.wav") for folder in (in_tmp / "pictures", ROOT / "data" / "figures")
    )
    assert (len(made[0]), made[1]) == (len(committed[0]), committed[1]) == (16000, 8000)
    assert made[0][:400].tolist() == committed[0][:400].tolist()  # processors round differently, which shows later
    levels = [10 * np.log10(np.square(samples).mean()) for samples, _ in (made, committed)]
    assert abs(levels[0] - levels[1]) < 5  # dB; of 64 seeds the quietest and the loudest differ by 6.2
    assert soundfile.info(ROOT / "data" / "figures" / "babble.wav").subtype == "PCM_16"
    shutil.rmtree("r/audio")
    refused = subprocess.run([*command, "r", "other"], capture_output=True, text=True, timeout=120)
    assert refused.returncode == 1
    assert "no audio/step-* there" in refused.stderr
    assert not (in_tmp / "other").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium, chromium-browser or google-chrome")
def test_the_photographs_of_pages(run, in_tmp, speech):
    data = ["dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true"]
    run("train", *TINY, *data, "run_dir=r", "samples.final_seconds=0.1")
    command = [sys.executable, str(ROOT / "scripts" / "page_pictures.py"), "r", "pictures"]
    taken = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert taken.returncode == 0, taken.stderr
    for name in ("tensorboard-audio.png", "tensorboard-images.png", "demo.png"):
        assert (in_tmp / "pictures" / name).stat().st_size > 20_000
        assert (ROOT / "data" / "figures" / name).is_file()


@pytest.mark.parametrize("name", ["README.md", "README.ja.md"])
def test_the_tables_of_models_are_right(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    for folder in (path.parent for path in (ROOT / "data" / "models").glob("*/config.json")):
        (row,) = (line for line in lines if line.startswith(f"| [`{folder.name}`]"))
        found = json.loads((folder / "evaluation.json").read_text())
        bits, speed = found["bits_per_sample"]["all"]["value"], found["speed"]["times_real_time"]
        size = sum(path.stat().st_size for path in folder.iterdir())
        cells = [f"{found['parameters'] / 1e6:.2f} M", f"{bits:.3f}", f"{size / 1e6:.1f} MB"]
        assert all(cell in row.split(" | ")[2:] or f"{cell} |" in row for cell in cells), cells
        assert f" {speed:.0f} " in row, speed


def test_the_readme_is_short():
    assert all(len((ROOT / name).read_text().splitlines()) < 200 for name in ("README.md", "README.ja.md"))
