"""What a model says about how it was made, and the card that becomes of it."""

import json
import os
import re
from dataclasses import replace

import pytest
import soundfile
import torch
import yaml
from markdown_it import MarkdownIt

import wavenet
from tests.configured import build_model
from tests.conftest import PROMPTS, TINY
from tests.test_checkpoint import edit, training_checkpoint
from wavenet.checkpoint import CheckpointError
from wavenet.checkpoint.card import MEASURES as MEASURES_OF_CARDS
from wavenet.checkpoint.card import card
from wavenet.checkpoint.markdown import escaped, literal
from wavenet.data import Licence, Origin, prepare, split
from wavenet.data.folder import Folder
from wavenet.report.resynthesis import MEASURES
from wavenet.training import WaveNetTraining, run_metadata

ABOUT = {
    "package": "0.1.0",
    "data": {"name": "birds", "utterances": 9, "seconds": 7200.0, "speakers": 2, "licences": [{"name": "CC-BY-4.0"}]},
    "training": {"steps": 1000, "seed": 3},
    "validation": {"bits_per_sample": 4.5, "step": 900, "samples": 240000},
}


def front(text):
    """The YAML of a card, and the Markdown."""
    match = re.fullmatch(r"---\n(.*?)\n---\n\n(.*)", text, re.DOTALL)
    return yaml.safe_load(match[1]), match[2]


def section(text, title):
    return re.search(rf"^## {title}\n\n(.*?)\n\n(?=## |\Z)", text + "\n\n", re.DOTALL | re.MULTILINE)[1]


def test_training_stores_what_a_card_needs(run, in_tmp, speech):
    settings = [*TINY, "dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true", "logger=none"]
    settings += ["dataset.licence=CC-BY-4.0", "dataset.attribution=The speakers", "run_dir=r", "seed=5"]
    output = run("train", *settings, "samples.final_seconds=0")
    for name in ("last", "best"):
        metadata = wavenet.load(f"r/checkpoints/{name}.ckpt").metadata
        data, training, validation = metadata["data"], metadata["training"], metadata["validation"]
        assert (data["name"], data["utterances"], data["speakers"], data["held_out_utterances"]) == ("folder", 9, 3, 3)
        assert data["licences"] == [{"name": "CC-BY-4.0", "attribution": "The speakers"}]
        assert (training["steps"], training["seed"], metadata["package"]) == (2, 5, wavenet.__version__)
        assert validation["step"] == 2 and 7 < validation["bits_per_sample"] < 9
    assert f"done     2 steps, {validation['bits_per_sample']:.4f} bits" in output
    model = wavenet.load("r")
    again = wavenet.load(wavenet.save(model, "saved"))
    assert again.metadata == metadata
    metadata, text = front((in_tmp / "saved" / "README.md").read_text())
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["model-index"][0]["results"][0]["metrics"][0]["value"] == round(validation["bits_per_sample"], 4)
    assert "- CC-BY-4.0: The speakers" in text and "9 utterances" in text and "allison, carlo, june" in text


def test_scores_of_an_evaluation(run, in_tmp, speech):
    settings = [*TINY, "dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true", "logger=none"]
    run("train", *settings, "run_dir=r", "samples.final_seconds=0")
    assert "evaluation" not in wavenet.load("r").metadata
    run("evaluate", "checkpoint=r", "long_term.utterances=0")
    model, path = wavenet.load("r"), in_tmp / "r" / "evaluation.json"
    found = json.loads(path.read_text())
    scores = model.metadata["evaluation"]["scores"]
    assert list(scores) == ["allison", "carlo", "june", "all"]
    assert {n: s["bits_per_sample"] for n, s in scores.items()} == {
        n: s["value"] for n, s in found["bits_per_sample"].items()
    }
    metadata, text = front(card(model))
    bits = scores["all"]["bits_per_sample"]
    assert metadata["model-index"][0]["results"][0]["metrics"][0]["value"] == round(bits, 4)
    assert f"**{bits:.4f} bits per sample** on held-out utterances (by `wavenet evaluate` on folder" in text
    assert f"| june | {scores['june']['bits_per_sample']:.4f} | {scores['june']['as_16_bit']:.4f} | 1 |" in text
    assert "evaluation" not in wavenet.load("r/checkpoints/last.ckpt").metadata  # it was of best.ckpt
    for change in (
        {"weights": "int8"},
        {"dataset": 3},
        {"checkpoint": "last.ckpt"},
        {"bits_per_sample": []},
        {"bits_per_sample": {"june": {"value": "low"}, "\u202e": found["bits_per_sample"]["june"]}},
    ):
        path.write_text(json.dumps(found | change))
        assert "evaluation" not in wavenet.load("r").metadata
    path.write_text("{")
    assert "evaluation" not in wavenet.load("r").metadata
    path.write_text(json.dumps(found))
    os.utime(path, (1, 1))  # of an earlier checkpoint
    assert "evaluation" not in wavenet.load("r").metadata


def test_a_resumed_run_keeps_the_last_validation(small):
    training, again = WaveNetTraining(small(), lr=0.001), {}
    training.on_load_checkpoint({"wavenet": {"metadata": ABOUT}})
    training.on_save_checkpoint(again)
    assert again["wavenet"]["metadata"] == {"training": {"steps": 0}, "validation": ABOUT["validation"]}
    for metadata in (None, {"validation": 3}, {"validation": {"bits_per_sample": 4.0, "step": "x", "samples": 1}}):
        training.on_load_checkpoint({"wavenet": {"metadata": metadata}})
        training.on_save_checkpoint(again)
        assert again["wavenet"]["metadata"] == {"training": {"steps": 0}}


def test_older_checkpoints_say_nothing_and_load(small, tmp_path):
    training_checkpoint(small(("ann",)), tmp_path / "last.ckpt")
    model = wavenet.load(tmp_path / "last.ckpt")
    assert model.metadata is None
    folder = wavenet.save(model, tmp_path / "m")
    assert set(json.loads((folder / "config.json").read_text())) == {"format_version", "model"}
    metadata, text = front((folder / "README.md").read_text())
    assert not metadata.keys() & {"license", "model-index", "datasets"}
    assert "**Not known: fill this in before you share the model.**" in section(text, "Data and licence")
    assert section(text, "Results") == "The model has not been scored on held-out utterances."


def test_facts_of_the_card(small):
    model = small(("ann", "bob"), dilation_cycle=4)
    model.metadata = ABOUT | {"data": ABOUT["data"] | {"hub": "june/birds"}}
    metadata, text = front(card(model, "june/wavenet-birds"))
    assert metadata["datasets"] == ["june/birds"] and metadata["library_name"] == "wavenet"
    assert metadata["license"] == "cc-by-4.0" and "pipeline_tag" not in metadata
    (entry,) = metadata["model-index"]
    assert entry["name"] == "wavenet-birds" and entry["results"][0]["dataset"]["type"] == "june/birds"
    assert "# wavenet-birds\n" in text
    assert f"| Receptive field | {model.receptive_field} samples, {model.receptive_field / 2:.0f} ms |" in text
    assert f"| Parameters | {sum(p.numel() for p in model.parameters()):,} |" in text
    assert "| Condition: speaker | ann, bob |" in text and "| Output distribution | 16 mu-law classes |" in text
    results = section(text, "Results")
    assert "**4.5000 bits per sample** on held-out utterances (2.0 minutes, after 900 steps" in results
    assert "1,000 steps, seed 3, wavenet 0.1.0" in results and "A uniform distribution needs 4 bits" in results
    assert "2.0 hours" in section(text, "Data and licence")
    many = small(tuple(f"p{n}" for n in range(100)))
    assert "p18, p19 and 80 more, in config.json |" in card(many)


def test_a_vocoders_measures_on_held_out_and_on_unheard_speakers(small):
    model = small()
    measures = {"log_mel_distance": 8.666, "voicing_error": 0.1234, "f0_error": 79.6, "other": 3}
    score = {"bits_per_sample": 3.7, "as_16_bit": 9.9, "samples": 1, "utterances": 24}
    own = {"dataset": "birds", "scores": {"all": score}, "machine": "cores 2, date 2026-11-27"}
    own["resynthesis"] = {"utterances": 1200, "seconds": 3000.4, "measures": measures}
    model.metadata = ABOUT | {"evaluation": own, "command": "make *it*"}
    results = section(front(card(model))[1], "Results")
    assert "| | Held-out recordings |\n| --- | --- |\n| Recordings | 1,200 |\n| Seconds | 3,000 |\n" in results
    assert "| Bits per sample | 3.7000 |\n| Log-mel distance, dB | 8.67 |\n| Error of F0, cents | 80 |\n" in results
    assert "| Error of voicing | 12.3% |" in results and "other" not in results and "PESQ" not in results
    assert "Measured on: cores 2, date 2026-11-27." in results
    assert "saved by: make \\*it\\*" in results
    unheard = own | {"resynthesis": {"utterances": 7, "seconds": 20, "measures": {"pesq": 2, "voicing_error": None}}}
    model.metadata = ABOUT | {"evaluation": own | {"unheard": unheard}}
    results = section(front(card(model))[1], "Results")
    assert "| | Held-out recordings | Speakers never heard in training |\n| --- | --- | --- |\n" in results
    assert "| Recordings | 1,200 | 7 |" in results and "| PESQ, 1 to 4.6 |  | 2.00 |" in results
    assert "| Error of voicing | 12.3% |  |" in results
    assert set(MEASURES_OF_CARDS) == set(MEASURES)  # all that a report has


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["CC-BY-SA-3.0", "CC-BY-3.0", "CC-BY-SA-3.0"], ["cc-by-sa-3.0", "cc-by-3.0"]),
        (["ODC-By-1.0"], "odc-by"),
        (["public domain"], None),
        (["CC-BY-4.0", "unknown"], None),
        (["Ask Ann"], None),
    ],
)
def test_licences_by_the_names_that_the_hub_has(small, names, expected):
    model = small()
    model.metadata = {"data": {"name": "x", "licences": [{"name": name} for name in names]}}
    metadata, text = front(card(model))
    assert metadata.get("license") == expected
    stated = section(text, "Data and licence")
    assert all(f"- {name}\n" in stated + "\n" for name in names)
    assert ("fill this in" in stated) == ("unknown" in names)


@pytest.mark.parametrize("conditioners", [[], ["speaker"], ["gender", "language"], ["mel"], ["speaker", "mel"]])
def test_the_python_of_the_card_makes_sound(in_tmp, conditioners):
    model = build_model(f"model/conditioners=[{','.join(conditioners or ['none'])}]")
    text = front((wavenet.save(model.eval(), "FOLDER") / "README.md").read_text())[1]
    code = section(text, "How to use").split("```python\n")[1].split("```")[0]
    recording = PROMPTS / "june" / "june_001.flac"
    soundfile.write("recording.wav", soundfile.read(recording)[0][:1600], 16000)
    exec(code.replace("seconds=2", "seconds=0.1"), {})
    assert soundfile.info("out.wav").frames == 800
    assert soundfile.info("out.wav").samplerate == 8000


WORDS = [
    "\n---\nlicense: mit\n---\n",
    "<script>alert(1)</script>",
    "](javascript:x) [click](http://x) <http://x> ![x](y)",
    "`code` **bold** _it_ ~~no~~ $x$ &lt;b&gt;",
    "a | b |\n| --- |",
    "# heading",
    "- item",
    "1. first",
    "> quoted",
    "~~~",
    "```\n```python",
    "\\*x*\\",
    '"); import os; os.abort() #',
    "\u202egnp.exe",
    "${oc.env:HOME}",
    "!!python/object/apply:os.system [x]",
]


def parsed(markdown):
    """The structure that a reader of GitHub's Markdown sees, and the code in it."""
    reader = MarkdownIt("gfm-like", {"html": True, "linkify": False})
    tokens = [each for token in reader.parse(markdown) for each in (token, *(token.children or []))]
    shape = [(token.type, token.tag) for token in tokens if token.type not in ("text", "text_special")]
    return shape, [token.content for token in tokens if token.type == "fence"]


@pytest.mark.parametrize("words", WORDS)
def test_everything_from_the_file_is_shown_as_text(small, words):
    plain, model = small(("ann", "bob")), small((words, "bob"))
    for each, word in ((plain, "word"), (model, words)):
        each.metadata = ABOUT | {"package": word, "date": word, word: word}
        score = {"bits_per_sample": 4.5, "as_16_bit": 9, "samples": 1, "utterances": 1}
        each.metadata["evaluation"] = {"dataset": word, "scores": {word: score, "all": score}, "machine": word}
        each.metadata["evaluation"]["resynthesis"] = {"utterances": 3, "seconds": 9, "measures": {word: 1, "stoi": 0.5}}
        each.metadata["command"] = word
        each.metadata["data"] = ABOUT["data"] | {"name": word, "hub": word}
        each.metadata["data"]["licences"] = [{"name": word, "attribution": word}]
    metadata, text = front(card(model))
    assert not metadata.keys() & {"license", "datasets"}
    shape, code = parsed(text)
    assert shape == parsed(front(card(plain))[1])[0]
    assert len(code) == 3 and all(line.isprintable() for line in text.split("\n"))
    compiled = compile(code[1], "card", "exec")  # its names are strings, whatever is in them
    assert words in compiled.co_consts and "os" not in compiled.co_names


def test_escaping_leaves_what_is_harmless():
    assert escaped("CC-BY-4.0: Zoë & Søn, 3 (c) 日本") == "CC-BY-4.0: Zoë &amp; Søn, 3 (c) 日本"
    assert escaped("x" * 600).endswith("x ...") and len(escaped("x" * 600)) == 500
    assert eval(literal("it's \"\\")) == "it's \"\\"


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([], "its metadata is not a dict"),
        ({"x": float("nan")}, "something other than text and finite numbers"),
        ({"x": object()}, "something other than text and finite numbers"),
        ({"x": torch.zeros(1)}, "something other than text and finite numbers"),
        ({"x": "\u200b"}, "cannot be printed"),
        ({"\n": 1}, "cannot be printed"),
        ({"x": ["y" * 1000] * 200}, "characters; at most 131072 are allowed"),
    ],
)
def test_what_is_not_plain_is_neither_saved_nor_trained_with(small, tmp_path, metadata, message):
    model = small()
    model.metadata = metadata
    with pytest.raises(CheckpointError, match=message):
        wavenet.save(model, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    with pytest.raises(ValueError, match=message):
        WaveNetTraining(model, lr=0.001)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"data": 3},
        {"data": {"licences": "x"}},
        {"data": {"licences": 3}},
        {"data": {"licences": [3, {"name": 4}], "more_licences": "many"}},
        {"data": {"parts": [3, {"name": 4, "share": 1}, {"name": "x"}, {"name": "# y", "share": 2, "seconds": "3"}]}},
        {"validation": {"bits_per_sample": "4"}},
        {"training": [], "package": {}},
        {"evaluation": {"resynthesis": {"measures": 3}, "unheard": [], "machine": 4}, "command": []},
    ],
)
def test_a_card_takes_only_known_fields_from_a_file(small, tmp_path, metadata):
    folder = wavenet.save(small(), tmp_path / "m")
    edit(folder, lambda config: config.update(metadata=metadata))
    model = wavenet.load(folder)
    assert model.metadata == metadata
    assert "fill this in" in front(card(model))[1]


def test_more_licences_than_a_card_can_name(speech, tmp_path):
    corpus = prepare(Folder(speech), 8000, tmp_path, progress=False)
    licences = tuple(Licence(f"L{n}", "\u3000日本\n" * 300) for n in range(60))
    train, held_out = split(replace(corpus, origin=Origin(licences)), 0.1)
    data = run_metadata(train, held_out, seed=1)["data"]
    assert len(data["licences"]) == 50 and data["more_licences"] == 10
    assert all(len(licence["attribution"]) <= 500 for licence in data["licences"])
