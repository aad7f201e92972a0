"""Roles of parameters in a network, which an optimizer may treat differently."""

HIDDEN = "hidden"  # matrices between the network's channels
OUTER = "outer"  # matrices that touch samples or names: the input convolution, embeddings, the output layer
VECTOR = "vector"  # biases and factors
