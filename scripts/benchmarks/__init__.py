"""Measurements of speed, each beside what the machine could do at best and beside the numerical error."""

from scripts.benchmarks.data import benchmark_data
from scripts.benchmarks.generation import benchmark_generation

__all__ = ["benchmark_data", "benchmark_generation"]
