"""Training with Lightning."""

from wavenet.training.about import about_run
from wavenet.training.callbacks import AudioSamples, ExponentialMovingAverage, LossWatch
from wavenet.training.cpu import CPUNetwork
from wavenet.training.data_module import SegmentData
from wavenet.training.log import CSVLog, TrainingLog
from wavenet.training.module import WaveNetTraining
from wavenet.training.optimizer import make_optimizer
from wavenet.training.progress import TrainingProgress
from wavenet.training.resume import read_resumable
from wavenet.training.saving import BestCheckpoint, LastCheckpoint, Stopped, WholeFiles
from wavenet.training.system import die_together, keep_freed_memory

__all__ = [
    "AudioSamples",
    "BestCheckpoint",
    "CPUNetwork",
    "CSVLog",
    "ExponentialMovingAverage",
    "LastCheckpoint",
    "LossWatch",
    "SegmentData",
    "Stopped",
    "TrainingLog",
    "TrainingProgress",
    "WaveNetTraining",
    "WholeFiles",
    "about_run",
    "die_together",
    "keep_freed_memory",
    "make_optimizer",
    "read_resumable",
]
