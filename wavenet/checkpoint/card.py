"""A saved model's README.md: its model card, written from the template `card.md.jinja`.

It has the form of the Hugging Face Hub's model cards (Mitchell et al., 2019, https://arxiv.org/abs/1810.03993), and the
Hub reads the YAML at its beginning. All of it comes from the model and from `WaveNet.metadata`, which may have been
written by anyone: the template escapes every value that is not marked as `Markdown` here.
"""

import functools
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined, Template

from wavenet.audio import LogMel, Pitch
from wavenet.checkpoint.markdown import Markdown, escaped, literal
from wavenet.checkpoint.metadata import entry_at, number_at, text_at
from wavenet.checkpoint.repository import is_repo
from wavenet.conditioning import CategoricalEmbedding
from wavenet.model import WaveNet
from wavenet.model_table import main_numbers

HERE = "FOLDER"  # stands in a card for the place that the model is loaded from
MEASURES = {  # of resynthesis, as `wavenet.report` names them: what the card calls them, and their format
    "log_mel_distance": ("Log-mel distance, dB", "{:.2f}"),
    "mel_cepstral_distortion": ("Mel cepstral distortion, dB", "{:.2f}"),
    "f0_error": ("Error of F0, cents", "{:.0f}"),
    "f0_error_hz": ("Error of F0, Hz", "{:.1f}"),
    "voicing_error": ("Error of voicing", "{:.1%}"),
    "pesq": ("PESQ, 1 to 4.6", "{:.2f}"),
    "stoi": ("STOI, 0 to 1", "{:.3f}"),
}
_MAX_NAMES = 20  # of a condition, on the card
_HUB_LICENCES = {  # https://huggingface.co/docs/hub/repositories-licenses: those that recordings have
    "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0",
    "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "odc-by",
    "odbl", "pddl", "mit", "apache-2.0", "unlicense",
}  # fmt: skip
_OTHER_NAMES = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "pddl-1.0": "pddl"}


def card(model: WaveNet, place: str = HERE) -> str:
    """Write a model's card.

    Args:
        model: The model, with its `metadata`.
        place: Where it is loaded from, such as "owner/name" on the Hub or the name of a model of the package.

    Returns:
        Markdown with YAML before it.
    """
    metadata = model.metadata or {}
    title = place.rsplit("/", 1)[-1] if place != HERE else "A WaveNet"
    bits, trained = _bits(metadata), Markdown(", ".join(_trained(metadata)))
    return _template().render(
        model=model, title=title, place=place, here=HERE, front_matter=_front_matter(model, metadata, title),
        **_usage(model, metadata), **_architecture(model), **_data(metadata), **_results(model, metadata),
        bits=None if bits is None else f"{bits:.4f}", trained=trained, scores=_scores(metadata),
        measured=_measured(metadata), packages=_packages(model, place),
    )  # fmt: skip


@functools.cache
def _template() -> Template:
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markdown) else escaped(str(value)),
    )  # fmt: skip
    environment.filters |= {
        "condition": _condition, "count": _count, "duration": _duration, "literal": literal, "markdown": Markdown,
        "ms": lambda samples, rate: f"{1000 * samples / rate:.0f}", "plain": lambda value: f"{value:g}",
    }  # fmt: skip
    return environment.from_string(Path(__file__).with_name("card.md.jinja").read_text(encoding="utf-8"))


def _front_matter(model: WaveNet, metadata: dict[str, Any], title: str) -> Markdown:
    """The YAML for the Hub: https://github.com/huggingface/hub-docs/blob/main/modelcard.md."""
    found: dict[str, Any] = {"library_name": "wavenet", "tags": ["wavenet", "audio", "audio-generation"]}
    licences = _hub_licences(metadata)
    if licences:
        found["license"] = licences[0] if len(licences) == 1 else licences
    if _is_vocoder(model):
        found["pipeline_tag"] = "audio-to-audio"
        found["tags"].append("vocoder")
    name, bits = text_at(metadata, "data", "name") or text_at(metadata, "evaluation", "dataset"), _bits(metadata)
    hub = text_at(metadata, "data", "hub")
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
    return Markdown(yaml.safe_dump(found, sort_keys=False, allow_unicode=True))


def _hub_licences(metadata: dict[str, Any]) -> list[str]:
    """The licences by the Hub's names, each once; none if it has no name for one of them."""
    names = [name.lower() for name, _ in _licences(metadata)]
    names = list(dict.fromkeys(_OTHER_NAMES.get(name, name) for name in names))
    complete = number_at(metadata, "data", "more_licences") is None and set(names) <= _HUB_LICENCES
    return names if complete else []


def _licences(metadata: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and attribution of each licence of the data."""
    given = entry_at(metadata, "data", "licences")
    listed = given if isinstance(given, list) else []
    each = [(text_at(licence, "name"), text_at(licence, "attribution")) for licence in listed]
    return [(name, attribution or "") for name, attribution in each if name]


def _usage(model: WaveNet, metadata: dict[str, Any]) -> dict[str, Any]:
    """The variable parts of the example program; the temperature is that at which resynthesis was measured."""
    names = {name: c for name, c in model.conditioners.items() if isinstance(c, CategoricalEmbedding)}
    values = {name: literal(str(c.categories[0])) for name, c in names.items()}
    arguments = ["seconds=seconds" if model.features else "seconds=2"]
    arguments += [f"speaker={values.pop('speaker')}"] if "speaker" in values else []
    items = [f"{literal(name)}: {value}" for name, value in values.items()]
    if model.features:
        arguments.append(f"conditions={{**conditions, {', '.join(items)}}}" if items else "conditions=conditions")
    elif items:
        arguments.append(f"conditions={{{', '.join(items)}}}")
    temperature = number_at(metadata, "evaluation", "resynthesis", "temperature") if model.features else None
    arguments += [f"temperature={temperature:g}"] if temperature is not None and temperature != 1 else []
    return {
        "features": model.features,
        "reads_files": _reads_files(model),
        "arguments": Markdown(", ".join([*arguments, "seed=1"])),
    }


def _packages(model: WaveNet, place: str) -> str:
    """What pip installs in a checkout to load the model and to compute its features."""
    extras = ["hub"] * (place == HERE or is_repo(place))
    extras += ["pitch"] * any(isinstance(features, Pitch) for features in model.features)
    return f'".[{",".join(extras)}]"' if extras else "."


def _architecture(model: WaveNet) -> dict[str, Any]:
    return {"numbers": main_numbers(model), "baseline_bits": f"{model.distribution.baseline_bits:g}"}


def _condition(conditioner: Any) -> Markdown:
    """The values that a condition may have."""
    if isinstance(conditioner, CategoricalEmbedding):
        values = ", ".join(escaped(str(name), 60) for name in conditioner.categories[:_MAX_NAMES])
        more = len(conditioner.categories) - _MAX_NAMES
        values = f"{values} and {more} more, in config.json" if more > 0 else values
    else:
        features = conditioner.features
        what = f"log-mel bands, windows of {features.n_fft} samples" if isinstance(features, LogMel) else "numbers"
        values = f"{features.num_channels} {what}, for every {features.hop_length} samples"
    return Markdown(values + (" (optional)" if conditioner.dropout else ""))


def _data(metadata: dict[str, Any]) -> dict[str, Any]:
    licences = _licences(metadata)
    data = None
    if entry_at(metadata, "data") is not None:
        names = ("utterances", "seconds", "speakers", "more_licences")
        data = {name: number_at(metadata, "data", name) for name in names}
        name = text_at(metadata, "data", "name") or "(without a name)"
        data |= {"name": escaped(name, 100), "parts": _parts(metadata)}
    base = {name: text_at(metadata, "base", name) for name in ("name", "data")}
    return {
        "data": data,
        "base": base if base["name"] else None,
        "licences": [(escaped(name, 100), attribution) for name, attribution in licences],
        "licence_unknown": any(name == "unknown" for name, _ in licences),
    }


def _parts(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a mix."""
    given = entry_at(metadata, "data", "parts")
    parts = []
    for part in given[:_MAX_NAMES] if isinstance(given, list) else []:
        name, share = text_at(part, "name"), number_at(part, "share")
        if name is not None and share is not None:
            sizes = {key: number_at(part, key) for key in ("utterances", "seconds")}
            parts.append({"name": escaped(name, 60), "share": f"{share:.1%}"} | sizes)
    return parts


def _bits(metadata: dict[str, Any]) -> float | None:
    """Bits per sample over all that was held out, by an evaluation, else as training saw it."""
    evaluated = number_at(metadata, "evaluation", "scores", "all", "bits_per_sample")
    return number_at(metadata, "validation", "bits_per_sample") if evaluated is None else evaluated


def _results(model: WaveNet, metadata: dict[str, Any]) -> dict[str, Any]:
    samples = number_at(metadata, "validation", "samples")
    evaluated = entry_at(metadata, "evaluation") is not None
    dataset = text_at(metadata, "evaluation", "dataset") or ""
    return {
        "evaluated_on": escaped(dataset, 100) if evaluated else None,
        "validated_seconds": None if samples is None else samples / model.sample_rate,
        "validated_step": number_at(metadata, "validation", "step"),
        "machine": text_at(metadata, "evaluation", "machine") if evaluated else None,
        "command": text_at(metadata, "command"),
    }


def _trained(metadata: dict[str, Any]) -> list[str]:
    facts: list[str] = []
    for (group, name), text in {
        ("training", "steps"): "{} steps",
        ("training", "seed"): "seed {}",
        ("training", "batch_size"): "{} segments a step",
        ("training", "segment_length"): "{} samples each",
    }.items():
        value = number_at(metadata, group, name)
        facts += [text.format(_count(value))] if value is not None else []
    for name, text in {"package": "wavenet {}", "torch": "torch {}", "date": "begun on {}"}.items():
        value = text_at(metadata, name)
        facts += [text.format(escaped(value, 60))] if value is not None else []
    return facts


def _scores(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a table, all speakers together in the last one."""
    scores = entry_at(metadata, "evaluation", "scores")
    scores, rows = scores if isinstance(scores, dict) else {}, []
    for speaker in [*[name for name in scores if name != "all"][:_MAX_NAMES], "all"]:
        names = ("bits_per_sample", "as_16_bit", "utterances")
        bits, as_16_bit, utterances = (number_at(scores, speaker, name) for name in names)
        if bits is not None and as_16_bit is not None:
            numbers = {"bits": f"{bits:.4f}", "as_16_bit": f"{as_16_bit:.4f}", "utterances": utterances}
            rows.append({"speaker": escaped(speaker, 60)} | numbers)
    return rows


def _measured(metadata: dict[str, Any]) -> dict[str, Any] | None:
    """A table of the measures of resynthesis, of held-out recordings and of speakers never heard; None without any."""
    reports = {
        "Held-out recordings": entry_at(metadata, "evaluation"),
        "Speakers never heard in training": entry_at(metadata, "evaluation", "unheard"),
    }
    reports = {name: found for name, found in reports.items() if entry_at(found, "resynthesis", "measures") is not None}
    if not reports:
        return None
    places = {
        "Recordings": (("resynthesis", "utterances"), "{:,.0f}"),
        "Seconds": (("resynthesis", "seconds"), "{:,.0f}"),
        "Temperature": (("resynthesis", "temperature"), "{:g}"),
        "Bits per sample": (("scores", "all", "bits_per_sample"), "{:.4f}"),
    }
    places |= {name: (("resynthesis", "measures", measure), style) for measure, (name, style) in MEASURES.items()}
    rows = {}
    for name, (path, style) in places.items():
        values = [number_at(found, *path) for found in reports.values()]
        if any(value is not None for value in values):
            rows[name] = ["" if value is None else style.format(value) for value in values]
    return {"columns": list(reports), "rows": rows}


def _is_vocoder(model: WaveNet) -> bool:
    return bool(model.features) and not _reads_files(model)


def _reads_files(model: WaveNet) -> bool:
    return any(features.reads_files for features in model.features)


def _count(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "? hours"
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
