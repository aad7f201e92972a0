"""A saved model's README.md: what a stranger has to know before using it, and what its maker owes to the data.

It is a model card in the form of the Hugging Face Hub (Mitchell et al., 2019, https://arxiv.org/abs/1810.03993),
which reads the YAML at its beginning. All of it comes from the model and from `WaveNet.metadata`; names in both may be
a stranger's, and are escaped.
"""

from typing import Any

import yaml

from wavenet.audio import LogMel, Pitch
from wavenet.checkpoint.markdown import escaped, literal, table
from wavenet.checkpoint.metadata import entry, number, words
from wavenet.checkpoint.repository import is_repo
from wavenet.conditioning import CategoricalEmbedding
from wavenet.distributions import MuLawCategorical
from wavenet.model import WaveNet

HERE = "FOLDER"  # stands in a card for the place that the model is loaded from
_MAX_NAMES = 20  # of a condition, on the card
_HUB_LICENCES = {  # https://huggingface.co/docs/hub/repositories-licenses: those that recordings have
    "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0",
    "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "odc-by",
    "odbl", "pddl", "mit", "apache-2.0", "unlicense",
}  # fmt: skip
_OTHER_NAMES = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "pddl-1.0": "pddl"}
_FILL_IN = (
    "**Not known: fill this in before you share the model.** Say here whose recordings these are, under which licence, "
    "and put the licence into the first lines of this file (`license: cc-by-4.0`, for example). Training writes it "
    "here by itself for a dataset that states it; for a folder, `dataset.licence=CC-BY-4.0` or a column `licence` of "
    "its index.csv do."
)
_CITATION = """\
```bibtex
@article{oord2016wavenet,
  title   = {WaveNet: A Generative Model for Raw Audio},
  author  = {van den Oord, A{\\"a}ron and Dieleman, Sander and Zen, Heiga and Simonyan, Karen and Vinyals, Oriol and
             Graves, Alex and Kalchbrenner, Nal and Senior, Andrew and Kavukcuoglu, Koray},
  journal = {arXiv preprint arXiv:1609.03499},
  year    = {2016},
  url     = {https://arxiv.org/abs/1609.03499}
}
```"""


def card(model: WaveNet, place: str = HERE) -> str:
    """Write a model's card.

    Args:
        model: The model, with what is known about it in `model.metadata`.
        place: Where it is loaded from, such as "owner/name".

    Returns:
        Markdown with YAML before it.
    """
    metadata = model.metadata or {}
    title = place.rsplit("/", 1)[-1] if place != HERE else "A WaveNet"
    parts = [
        f"---\n{yaml.safe_dump(_metadata(model, metadata, title), sort_keys=False, allow_unicode=True)}---",
        f"# {escaped(title)}",
        _summary(model),
        "## Use it",
        _use(model, place),
        "## What it is",
        _model(model),
        "## Data and licence",
        _data(metadata),
        "## Results",
        _results(model, metadata),
        "## Limits",
        _limits(model),
        "## Citation",
        _CITATION,
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(model: WaveNet, metadata: dict[str, Any], title: str) -> dict[str, Any]:
    """What the Hub reads: https://github.com/huggingface/hub-docs/blob/main/modelcard.md."""
    found: dict[str, Any] = {"library_name": "wavenet", "tags": ["wavenet", "audio", "audio-generation"]}
    licences = _hub_licences(metadata)
    if licences:
        found["license"] = licences[0] if len(licences) == 1 else licences
    if _is_vocoder(model):
        found["pipeline_tag"] = "audio-to-audio"
        found["tags"].append("vocoder")
    name, bits = words(metadata, "data", "name") or words(metadata, "evaluation", "dataset"), _bits(metadata)
    hub = words(metadata, "data", "hub")
    hub = hub if hub is not None and is_repo(hub) else None
    if hub is not None:
        found["datasets"] = [hub]
    if name is not None and bits is not None:
        result = {
            "task": {"type": "audio-generation", "name": "Audio generation"},
            "dataset": {"type": hub or name, "name": f"{name}, held-out utterances"},
            "metrics": [{"type": "bits_per_sample", "value": round(bits, 4), "name": "Bits per sample"}],
        }
        found["model-index"] = [{"name": title, "results": [result]}]
    return found


def _hub_licences(metadata: dict[str, Any]) -> list[str]:
    """The licences by the Hub's names, each once; none if it has no name for one of them."""
    names = [name.lower() for name, _ in _licences(metadata)]
    names = list(dict.fromkeys(_OTHER_NAMES.get(name, name) for name in names))
    complete = number(metadata, "data", "more_licences") is None and set(names) <= _HUB_LICENCES
    return names if complete else []


def _licences(metadata: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and attribution of each licence of the data."""
    given = entry(metadata, "data", "licences")
    listed = given if isinstance(given, list) else []
    each = [(words(licence, "name"), words(licence, "attribution")) for licence in listed]
    return [(name, attribution or "") for name, attribution in each if name]


def _summary(model: WaveNet) -> str:
    kind = "makes audio again from its features" if model.features else "makes up audio, one sample after the other"
    return (
        f"A [WaveNet](https://arxiv.org/abs/1609.03499) (van den Oord et al., 2016) that {kind}, at "
        f"{model.sample_rate} Hz. Trained with the Python package `wavenet`."
    )


def _use(model: WaveNet, place: str) -> str:
    names = {name: c for name, c in model.conditioners.items() if isinstance(c, CategoricalEmbedding)}
    told = {name: literal(str(c.categories[0])) for name, c in names.items()}
    options = [f"speaker={told.pop('speaker')}"] if "speaker" in told else []
    lines = ["import wavenet, soundfile", "", f"model = wavenet.load({literal(place)})"]
    if place == HERE:
        lines[-1] += '  # the folder of this file, or "owner/name" on the Hugging Face Hub'
    conditions = [f"{literal(name)}: {value}" for name, value in told.items()]
    if model.features:
        reads = any(features.reads_files for features in model.features)
        of_file = ', Path("recording.wav")' if reads else ""
        lines[0] = "import wavenet, soundfile\nfrom wavenet.audio import read"
        lines[0] = f"from pathlib import Path\n{lines[0]}" if reads else lines[0]
        lines.append('recording, _ = read("recording.wav", model.sample_rate)  # which will be made again')
        lines.append(f"told = {{features.name: features.extract(recording{of_file}) for features in model.features}}")
        conditions = ["**told", *conditions]
    if conditions:
        options.append("conditions=told" if conditions == ["**told"] else f"conditions={{{', '.join(conditions)}}}")
    seconds = "len(recording) / model.sample_rate" if model.features else "2"
    lines.append(f"audio = wavenet.generate(model, {', '.join([f'seconds={seconds}', *options, 'seed=1'])})")
    lines.append('soundfile.write("out.wav", audio[0], model.sample_rate)')
    code = "\n".join(lines)
    expect = (
        "The same seed makes the same audio. Features other than a recording's own, such as those of a text-to-speech "
        "front end, go into `conditions` as arrays (channels, frames)."
        if model.features
        else "The same seed makes the same audio, another seed another one. Nothing tells the model what to say: it "
        "makes up what resembles the recordings, not words (section 3.1 of the paper)."
    )
    extras = "hub,pitch" if any(isinstance(features, Pitch) for features in model.features) else "hub"
    install = f'pip install -e ".[{extras}]"  # in a checkout of it; PyPI has another package of this name'
    return f"```\n{install}\n```\n\n```python\n{code}\n```\n\n{expect}"


def _model(model: WaveNet) -> str:
    layers, field, rate = model.stack.num_layers, model.receptive_field, model.sample_rate
    distribution = model.distribution
    if isinstance(distribution, MuLawCategorical):
        says = f"one of {distribution.num_classes} mu-law classes"
    else:
        says = f"{type(distribution).__name__} over {distribution.baseline_bits:g}-bit samples"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rows = [
        ("Layers", f"{layers}: {model.num_cycles} x {model.dilation_cycle}, {model.kernel_size} taps each"),
        ("Channels", f"{model.residual_channels} residual, {model.gate_channels} gate, {model.skip_channels} skip"),
        ("Parameters", f"{parameters:,}"),
        ("Receptive field", f"{field} samples, {1000 * field / rate:.0f} ms"),
        ("Sample rate", f"{rate} Hz, one channel"),
        ("A sample is", says),
    ]
    if model.context is not None:
        rows.append(("Context stack", f"{1000 * model.context.receptive_field / rate:.0f} ms"))
    for name, conditioner in model.conditioners.items():
        rows.append((f"Told: {escaped(name, 100)}", _condition(conditioner)))
    return table(["", ""], rows)


def _condition(conditioner: Any) -> str:
    if isinstance(conditioner, CategoricalEmbedding):
        named = ", ".join(escaped(str(name), 60) for name in conditioner.categories[:_MAX_NAMES])
        more = len(conditioner.categories) - _MAX_NAMES
        said = f"{named} and {more} more, in config.json" if more > 0 else named
    else:
        features = conditioner.features
        what = f"log-mel bands, windows of {features.n_fft} samples" if isinstance(features, LogMel) else "numbers"
        said = f"{features.num_channels} {what}, for every {features.hop_length} samples"
    return said + (" (or nothing)" if conditioner.dropout else "")


def _data(metadata: dict[str, Any]) -> str:
    if entry(metadata, "data") is None:
        return _FILL_IN
    name, utterances = words(metadata, "data", "name"), number(metadata, "data", "utterances")
    seconds, speakers = number(metadata, "data", "seconds"), number(metadata, "data", "speakers")
    lines = [
        f"Learnt from the dataset {escaped(name or '(without a name)', 100)}: {_count(utterances)} utterances, "
        f"{_hours(seconds)}, {_count(speakers)} speaker(s)."
    ]
    licences = _licences(metadata)
    if not licences:
        return "\n\n".join([*lines, _FILL_IN])
    listed = [f"- {escaped(name, 100)}{': ' if who else ''}{escaped(who)}" for name, who in licences]
    more = number(metadata, "data", "more_licences")
    if more is not None:
        listed.append(f"- and {more:g} more, which the dataset lists")
    if any(name == "unknown" for name, _ in licences):
        listed.append(f"\n{_FILL_IN}")
    lines += ["Licences of the recordings, and whom they ask to be named:", "\n".join(listed)]
    lines.append(
        "Name them as well when you publish audio that this model made. What these licences ask of the model itself "
        "is for whoever shares it to judge; the licence at the top of this file, if there is one, repeats theirs."
    )
    return "\n\n".join(lines)


def _bits(metadata: dict[str, Any]) -> float | None:
    """Bits per sample over all that was held out, by an evaluation, else as training saw it."""
    evaluated = number(metadata, "evaluation", "scores", "all", "bits_per_sample")
    return number(metadata, "validation", "bits_per_sample") if evaluated is None else evaluated


def _results(model: WaveNet, metadata: dict[str, Any]) -> str:
    bits = _bits(metadata)
    trained = _trained(metadata)
    lines = [f"Trained: {', '.join(trained)}."] if trained else []
    if bits is None:
        return "\n\n".join([*lines, "Nothing that was held out has been scored."])
    samples, step = number(metadata, "validation", "samples"), number(metadata, "validation", "step")
    how = f"by `wavenet evaluate` on {escaped(words(metadata, 'evaluation', 'dataset') or '', 100)}"
    if entry(metadata, "evaluation") is None:
        how = f"{_hours(None if samples is None else samples / model.sample_rate)}, after {_count(step)} steps"
    lines.append(
        f"**{bits:.4f} bits per sample** on held-out utterances ({how}, with averaged weights): the mean negative "
        "log2-likelihood of each sample given all that came before it. Knowing nothing needs "
        f"{model.distribution.baseline_bits:g} bits."
    )
    scores = entry(metadata, "evaluation", "scores")
    if isinstance(scores, dict):
        lines.append(table(["Speaker", "Bits per sample", "As 16-bit audio", "Utterances"], _scored(scores)))
    return "\n\n".join(lines)


def _trained(metadata: dict[str, Any]) -> list[str]:
    facts: list[str] = []
    for (group, name), text in {
        ("training", "steps"): "{} steps",
        ("training", "seed"): "seed {}",
        ("training", "batch_size"): "{} segments a step",
        ("training", "segment_length"): "{} samples each",
    }.items():
        value = number(metadata, group, name)
        facts += [text.format(_count(value))] if value is not None else []
    for name, text in {"package": "wavenet {}", "torch": "torch {}", "date": "begun on {}"}.items():
        value = words(metadata, name)
        facts += [text.format(escaped(value, 60))] if value is not None else []
    return facts


def _scored(scores: dict[str, Any]) -> list[list[str]]:
    """The rows of a table, all together in the last one."""
    rows = []
    for speaker in [*[name for name in scores if name != "all"][:_MAX_NAMES], "all"]:
        numbers = [number(scores, speaker, name) for name in ("bits_per_sample", "as_16_bit", "utterances")]
        bits, as_16_bit, utterances = numbers
        if bits is not None and as_16_bit is not None:
            rows.append([escaped(speaker, 60), f"{bits:.4f}", f"{as_16_bit:.4f}", _count(utterances)])
    return rows


def _limits(model: WaveNet) -> str:
    lines = [
        "- It reads no text." if model.features else "- It reads no text, and says nothing that means anything.",
        "- It knows the voices, the microphones and the noise of its recordings, and no others.",
        f"- Nothing above {model.sample_rate / 2:g} Hz is there.",
        "- Voices in it are those of people. Use them for what they agreed to, do not pass off what it makes as "
        "their speech, and say that a machine made it.",
    ]
    return "\n".join(lines)


def _is_vocoder(model: WaveNet) -> bool:
    return bool(model.features) and not any(features.reads_files for features in model.features)


def _count(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}"


def _hours(seconds: float | None) -> str:
    if seconds is None:
        return "? hours"
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
