"""Waveforms: files, resampling, mu-law, and features such as the mel spectrogram."""

from wavenet.audio.features import Features, FileFeatures, read_frames
from wavenet.audio.files import (
    AudioError,
    claimed_seconds,
    file_name_for,
    format_of,
    looks_like_audio,
    read,
    unique_file_names,
    write,
)
from wavenet.audio.mel import LogMel, log_mel_spectrogram
from wavenet.audio.mu_law import mu_law_compand, mu_law_decode, mu_law_encode
from wavenet.audio.pitch import Pitch
from wavenet.audio.resample import resample
from wavenet.audio.samples import as_int16, check_samples
from wavenet.audio.silence import frame_power, trim_silence
from wavenet.audio.stretch import stretched

__all__ = [
    "AudioError",
    "Features",
    "FileFeatures",
    "LogMel",
    "Pitch",
    "as_int16",
    "check_samples",
    "claimed_seconds",
    "file_name_for",
    "format_of",
    "frame_power",
    "log_mel_spectrogram",
    "looks_like_audio",
    "mu_law_compand",
    "mu_law_decode",
    "mu_law_encode",
    "read",
    "read_frames",
    "resample",
    "stretched",
    "trim_silence",
    "unique_file_names",
    "write",
]
