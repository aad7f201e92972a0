"""Training with Lightning."""

from wavenet.training.allocator import keep_freed_memory
from wavenet.training.callbacks import AudioSamples, ExponentialMovingAverage, LastCheckpoint, LossWatch
from wavenet.training.cpu import CPUNetwork
from wavenet.training.data_module import SegmentData
from wavenet.training.module import WaveNetTraining
from wavenet.training.progress import TrainingProgress
from wavenet.training.resume import read_resumable

__all__ = [
    "AudioSamples",
    "CPUNetwork",
    "ExponentialMovingAverage",
    "LastCheckpoint",
    "LossWatch",
    "SegmentData",
    "TrainingProgress",
    "WaveNetTraining",
    "keep_freed_memory",
    "read_resumable",
]
