"""Conditioners: what the network is told besides the samples so far.

A conditioner is a `torch.nn.Module` with

- `condition_channels`: channels of what it returns;
- `forward(conditions, batch_size)`: takes the batch's named conditions, picks its own, and returns
  (B, condition_channels, 1) for something that holds for the whole utterance, or
  (B, condition_channels, T) for something that changes with time.

The model adds up what its conditioners return, so its layers know one condition only.
"""

from wavenet.conditioning.categorical import CategoricalEmbedding

__all__ = ["CategoricalEmbedding"]
