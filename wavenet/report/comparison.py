"""Comparison of several models, where their figures are comparable."""

from collections.abc import Sequence
from typing import Any

from wavenet.evaluation import grouped, ratio_interval
from wavenet.report.model_report import ModelReport


def compare(reports: Sequence[ModelReport], confidence: float = 0.95) -> dict[str, Any]:
    """Return the differences from the first, utterance by utterance, if all were evaluated on the same utterances.

    Args:
        reports: Two or more reports.
        confidence: Confidence level of the intervals.

    Returns:
        "same_utterances"; "reason", why not; and "differences": for each model but the first its bits per 16-bit
        sample minus the first one's, by speaker, with the interval of the paired difference. Bits per 16-bit sample
        are comparable between distributions; for two models with the same classes the difference is that of their
        bits per sample.
    """
    reason = incomparable_reason(reports)
    if reason:
        return {"same_utterances": False, "reason": reason, "differences": []}
    first, differences = reports[0], []
    for other in reports[1:]:
        bits = [
            (b.bits + b.log2_levels) - (a.bits + a.log2_levels) for a, b in zip(first.scores, other.scores, strict=True)
        ]
        by_speaker = {}
        for speaker, indices in grouped(first.corpus).items():
            speaker_bits, samples = [bits[i] for i in indices], [first.scores[i].samples for i in indices]
            by_speaker[speaker] = {
                "value": sum(speaker_bits) / sum(samples),
                "interval": ratio_interval(speaker_bits, samples, confidence),
                "utterances": len(speaker_bits),
            }
        differences.append({"of": other.name, "minus": first.name, "by_speaker": by_speaker})
    return {"same_utterances": True, "reason": "", "differences": differences}


def incomparable_reason(reports: Sequence[ModelReport]) -> str:
    """Return why figures are not comparable; "" if all are of the same utterances at the same rate."""
    rates = dict.fromkeys(each.corpus.sample_rate for each in reports)
    if len(rates) > 1:
        return f"the sample rates differ: {', '.join(map(str, rates))} Hz; bits per sample compare only at one rate"
    datasets = dict.fromkeys(each.corpus.name for each in reports)
    if len(datasets) > 1:
        return f"the datasets differ: {', '.join(datasets)}; dataset=NAME uses the same for all"
    first, *others = [[(u.id, u.num_samples) for u in each.corpus.utterances] for each in reports]
    for each, utterances in zip(reports[1:], others, strict=True):
        if utterances != first:
            shared = len(set(first) & set(utterances))
            return (
                f"{reports[0].name} has {len(first)} held-out utterances and {each.name} {len(utterances)}, "
                f"of which {shared} are the same; dataset=NAME uses the same for all"
            )
    return ""
