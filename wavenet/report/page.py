"""The report as one self-contained HTML page: no network, no script, no other file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from wavenet.evaluation.bits_per_byte import PUBLISHED
from wavenet.report.captions import (
    bits_caption,
    bytes_caption,
    facts_of_models,
    generated_caption,
    resynthesis_caption,
)
from wavenet.report.generated import best_in_words, shown_temperature
from wavenet.report.model_report import ModelReport
from wavenet.report.resynthesis import MEASURES
from wavenet.report.sounds import Sound, spectrogram, waveform_points

_DIGITS = {"voicing_error": 3, "stoi": 3, "pesq": 2, "f0_error": 0, "f0_error_hz": 1}
_PAPER_CLIPS = (1, "mu_law", True, False)  # clip_seconds, quantization, stretch and drop_rest, for SC09
_ROW, _GAP, _AXIS = 16, 8, 24  # heights in the chart, in pixels


def render(result: Mapping[str, Any], reports: Sequence[ModelReport]) -> str:
    """Render the page.

    Args:
        result: The JSON's content: "models", one for each report, "comparison" or None, and what they have in
            common.
        reports: The reports whose sounds are shown.

    Returns:
        HTML. All data is escaped, and the page's policy forbids scripts and network access.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    captions = (bits_caption, bytes_caption, generated_caption, resynthesis_caption)
    environment.filters |= {"number": number, "interval": interval} | {each.__name__: each for each in captions}
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    shared = bool(result["comparison"] and result["comparison"]["same_utterances"])
    return template.render(
        result=result,
        title=_listed([model["name"] for model in result["models"]]),
        models=result["models"],
        facts=facts_of_models(result["models"]),
        comparison=result["comparison"],
        confidence=f"{100 * result['confidence']:g} %",
        chart=_chart(result["models"]),
        sounds=_sounds(reports, shared),
        made=_made(reports),
        long_terms={model["name"]: _long_term(model["long_term"]) for model in result["models"] if model["long_term"]},
        measures=[(name, title, _DIGITS.get(name, 2)) for name, title in MEASURES.items()],
        published={model["name"]: _published(model) for model in result["models"]},
    )


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """Format a number with this many decimals; "n/a" for None.

    >>> number(3.14159), number(None), number(0.5, 2, sign=True)
    ('3.142', 'n/a', '+0.50')
    """
    if value is None:
        return "n/a"
    return f"{value:{'+' if sign else ''}.{digits}f}"


def interval(ends: Sequence[float] | None, digits: int = 3, sign: bool = False) -> str:
    """Format an interval's ends; "n/a" for None.

    >>> interval([3.1, 3.25], 2), interval(None)
    ('3.10 … 3.25', 'n/a')
    """
    return "n/a" if ends is None else f"{number(ends[0], digits, sign)} … {number(ends[1], digits, sign)}"


def _listed(names: Sequence[str]) -> str:
    """List names in words: "a, b and c"."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _speakers(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return all speakers of several models, "all" last."""
    names = dict.fromkeys(name for model in models for name in model["bits_per_sample"] if name != "all")
    return [*names, "all"]


def _chart(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Lay out a chart of bits by speaker with their intervals, in the unit in which all models compare.

    Heights are in pixels, and horizontal positions in percent of the chart's width, so that it fits any page.
    """
    distributions = {(model["distribution"], model["levels"]) for model in models}
    key = "value" if len(distributions) == 1 else "as_16_bit"
    ends = "interval" if key == "value" else "as_16_bit_interval"
    names, rows, values, y = [], [], [], 0
    for speaker in _speakers(models):
        top = y
        for place, model in enumerate(models):
            found = model["bits_per_sample"].get(speaker)
            if found is not None and found[key] is not None:
                low, high = found[ends] or (found[key], found[key])
                rows.append((place, y + _ROW // 2, low, found[key], high))
                values += [low, found[key], high]
                y += _ROW
        if y > top:
            y += _GAP
            names.append((speaker, y - top))
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.5
    low, high = max(0.0, low - margin), high + margin

    def x(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    steps = (digit * 10.0**power for power in range(-9, 10) for digit in (1, 2, 5))
    step = next(each for each in steps if (high - low) / each <= 8)
    ticks = [k * step for k in range(int(low / step) + 1, int(high / step) + 1)]
    lines = [
        {"model": place % 6, "y": middle, "low": x(a), "value": x(b), "high": x(c)} for place, middle, a, b, c in rows
    ]
    return {
        "title": "bits per sample" if key == "value" else "bits per sample as 16-bit",
        "height": y + _AXIS,
        "bottom": y,
        "names": names,
        "lines": lines,
        "ticks": [(x(tick), f"{tick:.4g}") for tick in ticks],
    }


def _sounds(reports: Sequence[ModelReport], shared: bool) -> list[dict[str, Any]]:
    """Collect the sounds of each speaker: a recording, and what each model generated, with spectrograms."""
    speakers: dict[str, list[dict[str, Any]]] = {}
    for place, report in enumerate(reports):
        for sound in report.sounds:
            if sound.kind == "recording" and shared and place:
                continue  # the same as the first report's
            speakers.setdefault(sound.speaker, []).append(_card(sound, report, len(reports) > 1))
    return [{"speaker": speaker, "cards": cards} for speaker, cards in sorted(speakers.items())]


def _made(reports: Sequence[ModelReport]) -> str:
    """Return what the sounds are that are not recordings, in words."""
    kinds = {sound.kind for report in reports for sound in report.sounds} - {"recording"}
    resynthesis, new = "its resynthesis from its features", "new audio, generated with the conditions listed below it"
    if len(kinds) > 1:
        return f"what each model generated: {resynthesis}, or {new}"
    return resynthesis if "resynthesised" in kinds else new


def _card(sound: Sound, report: ModelReport, several: bool) -> dict[str, Any]:
    waveform, rate = sound.decoded(), report.corpus.sample_rate
    title = f"{sound.of}: {sound.kind}" if several and sound.of else sound.kind
    return {
        "title": title,
        "sound": sound,
        "rate": rate,
        "points": waveform_points(waveform),
        "spectrogram": spectrogram(waveform, rate),
        "label": f"{title}, {sound.speaker}, {sound.facts['seconds']:.2f} seconds",
    }


def _long_term(found: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the table of speakers at the temperature shown, and the sentence on the best temperature."""
    rows = []
    for speaker, row in shown_temperature(found)["by_speaker"].items():
        faults = [text.split(": ", 1) for text in row.get("verdict", [])]
        rows.append((speaker, row, found["recordings"][speaker], faults))
    several = len(found["distances"]) > 1
    return {
        "rows": rows,
        "distances": found["distances"] if several else [],
        "best": best_in_words(found) if several else "",
    }


def _published(model: Mapping[str, Any]) -> Sequence[tuple[str, float]]:
    """Return published figures that were measured in the same way on the same data, if there are any."""
    how = model["bits_per_byte"]
    if how is None or "reason" in how or model["sample_rate"] != 16000 or model["conditions"]:
        return ()
    found = how["clip_seconds"], how["quantization"], how["stretch"], how["drop_rest"]
    return PUBLISHED.get(model["dataset"].lower(), ()) if found == _PAPER_CLIPS else ()
