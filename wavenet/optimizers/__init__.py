"""Optimizers that treat a weight as a matrix: Muon and SOAP."""

from wavenet.optimizers.muon import Muon
from wavenet.optimizers.soap import SOAP
from wavenet.optimizers.stacked import StackedOptimizer

__all__ = ["SOAP", "Muon", "StackedOptimizer"]
