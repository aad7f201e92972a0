"""Conditioners: `base` has their contract, every other file one of them."""

from wavenet.conditioning.base import Conditioner
from wavenet.conditioning.categorical import CategoricalEmbedding

__all__ = ["CategoricalEmbedding", "Conditioner"]
