"""Output distributions: what a sample of audio may be, given the network's parameters.

A distribution is a `torch.nn.Module` with

- `in_channels`: channels of the network's input that `encode` makes;
- `parameter_channels`: channels that it wants back from the network;
- `num_uniforms`: random numbers that one sample needs;
- `baseline_bits`: bits per sample of knowing nothing, which a model must beat;
- `encode(waveform)`: (B, T) -> (B, in_channels, T);
- `log_prob(parameters, waveform)`: (B, parameter_channels, T), (B, T) -> (B, T), nats;
- `sample(parameters, uniforms, temperature, top_k)`: with uniforms (B, num_uniforms, T) in
  [0, 1) -> (B, T). The random numbers are an input: the same numbers make the same audio.
"""

from wavenet.distributions.mulaw_categorical import MuLawCategorical

__all__ = ["MuLawCategorical"]
