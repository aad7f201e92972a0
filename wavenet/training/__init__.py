"""Training with Lightning."""

from wavenet.training.agreement import Agreement, flat_settings
from wavenet.training.callbacks import AudioSamples, DivergenceMonitor, EarlyStopping, ExponentialMovingAverage
from wavenet.training.checkpointing import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint, TrainingStopped
from wavenet.training.cpu import CPUNetwork
from wavenet.training.data_module import SegmentData
from wavenet.training.log import CSVLog, TrainingLog, log_settings
from wavenet.training.metadata import run_metadata
from wavenet.training.module import WaveNetTraining
from wavenet.training.optimizer import make_optimizer
from wavenet.training.process import flush_denormal_numbers, keep_freed_memory, kill_with_parent
from wavenet.training.process_monitor import ProcessMonitor
from wavenet.training.progress import TrainingProgress
from wavenet.training.rendezvous import Launch, Rendezvous, launch
from wavenet.training.resume import read_resumable
from wavenet.training.run_lock import hold
from wavenet.training.transfer import Names, Transfer, freeze, take_weights

__all__ = [
    "Agreement",
    "AtomicCheckpointIO",
    "AudioSamples",
    "BestCheckpoint",
    "CPUNetwork",
    "CSVLog",
    "DivergenceMonitor",
    "EarlyStopping",
    "ExponentialMovingAverage",
    "LastCheckpoint",
    "Launch",
    "Names",
    "ProcessMonitor",
    "Rendezvous",
    "SegmentData",
    "TrainingLog",
    "TrainingProgress",
    "TrainingStopped",
    "Transfer",
    "WaveNetTraining",
    "flat_settings",
    "flush_denormal_numbers",
    "freeze",
    "hold",
    "keep_freed_memory",
    "kill_with_parent",
    "launch",
    "log_settings",
    "make_optimizer",
    "read_resumable",
    "run_metadata",
    "take_weights",
]
