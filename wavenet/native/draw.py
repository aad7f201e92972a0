"""Drawing of samples in compiled code: the same as the output distributions' `sample`."""

import math

import numpy as np

from wavenet.native.elementwise import LOWEST, exponential
from wavenet.native.instructions import (
    float_to_ordered_int,
    jit,
    load,
    load_double,
    ordered_int_to_float,
    store,
    store_double,
)

CATEGORICAL, LOGISTIC, GAUSSIAN = 0, 1, 2  # the supported distributions


@jit
def draw(logits, classes, uniform, temperature, top_k, probabilities):
    """Draw a class by inverting the cumulative distribution; the same as `MuLawCategorical.sample`.

    Args:
        logits: Address of the unnormalised log-probabilities.
        classes: Number of classes.
        uniform: In [0, 1).
        temperature: 0 takes the most likely class.
        top_k: Draw from this many of the most likely classes; 0 for all.
        probabilities: Address of a buffer of `classes` floats.
    """
    best = 0
    for i in range(1, classes):
        if load(logits, i) > load(logits, best):
            best = i
    if temperature == 0:
        return best
    highest = load(logits, best)
    limit = _kth_largest(logits, classes, top_k) if 0 < top_k < classes else np.float32(-np.inf)
    for i in range(classes):
        x = load(logits, i)
        exponent = (x - highest) / temperature
        p = exponential(max(exponent, LOWEST))
        store(probabilities, i, p if x >= limit and exponent >= LOWEST else np.float32(0))

    # Partial sums of sixteen classes each do not depend on each other.
    total = np.float32(0)
    for i in range(0, classes, 16):
        total += _sum(probabilities, i, min(i + 16, classes))
    target = uniform * total
    below = np.float32(0)
    for i in range(0, classes, 16):
        following = below + _sum(probabilities, i, min(i + 16, classes))
        if following > target:
            part = np.float32(0)
            for j in range(i, min(i + 16, classes)):
                part += load(probabilities, j)
                if below + part > target:
                    return j
        below = following
    return best


@jit
def _sum(address, first, last):
    total = np.float32(0)
    for i in range(first, last):
        total += load(address, i)
    return total


@jit
def _kth_largest(x, count, k):
    """Return the k-th largest of `count` floats, found bit by bit: as integers, floats have the same order."""
    limit = np.int64(-(2**31))
    for bit in range(31, -1, -1):
        higher = limit + (np.int64(1) << bit)
        at_least = 0
        for i in range(count):
            at_least += float_to_ordered_int(load(x, i)) >= higher
        if at_least >= k:
            limit = higher
    return ordered_int_to_float(limit)


# ---- drawing from a mixture, in float64, which costs little -------------------------------------


@jit
def draw_from_mixture(kind, settings, parameters, uniform, variate, temperature, room):
    """Draw the index of a level; the same as `Mixture.sample`.

    Args:
        kind: LOGISTIC or GAUSSIAN.
        settings: Address of float64: the number of components, the number of levels below 0, log_scale_min,
            the largest log-scale, the maximum of steps to a mode, and the length of a step that ends them.
        parameters: Address of log-weights, means and raw log-scales.
        uniform: In [0, 1), chooses the component.
        variate: A value of the standard component, see `Mixture.standard_variates`.
        temperature: 0 takes the mode.
        room: Address of a buffer, float64 (3, components).
    """
    count, half = int(load_double(settings, 0)), load_double(settings, 1)
    lowest, highest = load_double(settings, 2), load_double(settings, 3)
    means = parameters + 4 * count if count > 1 else parameters  # a single component has no weight
    scales, heights, probabilities = room, room + 8 * count, room + 16 * count
    top = -np.inf
    for k in range(count):
        above = load(means, count + k) - lowest
        log_scale = min(lowest + max(above, 0.0) + math.log1p(math.exp(-abs(above))), highest)
        height = (np.float64(load(parameters, k)) if count > 1 else 0.0) - log_scale
        store_double(scales, k, log_scale)
        store_double(heights, k, height)
        top = max(top, height)
    if temperature == 0:
        for k in range(count):
            store_double(scales, k, math.exp(load_double(scales, k)))
        return _nearest_level(_mode(kind, settings, means, scales, heights, probabilities), half)

    largest = -np.inf  # the largest log-weight, which is subtracted so that none overflows
    for k in range(count):
        weight = (load_double(heights, k) - top) / temperature + load_double(scales, k)
        store_double(probabilities, k, weight)
        largest = max(largest, weight)
    total = 0.0
    for k in range(count):
        total += math.exp(load_double(probabilities, k) - largest)
        store_double(probabilities, k, total)
    chosen = 0
    while chosen < count - 1 and load_double(probabilities, chosen) <= uniform * total:
        chosen += 1
    scale = math.exp(load_double(scales, chosen)) * math.sqrt(temperature)
    return _nearest_level(load(means, chosen) + scale * variate, half)


@jit
def _nearest_level(sample, half):
    """Return the index of the nearest level; nan counts as the lowest, because the result is an index of a table."""
    scaled = sample * half
    if not scaled > -half:
        return 0
    return int(min(np.rint(scaled), half - 1)) + int(half)


@jit
def _mode(kind, settings, means, scales, heights, room):
    """Return where the density is highest, see `Mixture._mode`. Addresses of float64, except the means."""
    count, climbs, arrived = int(load_double(settings, 0)), int(load_double(settings, 4)), load_double(settings, 5)
    best, best_density = 0.0, -np.inf
    for start in range(count):
        x = np.float64(load(means, start))
        for _ in range(climbs):
            before = x
            _, x = _climb(kind, count, x, means, scales, heights, room)
            if abs(x - before) <= arrived:
                break
        density, _ = _climb(kind, count, x, means, scales, heights, room)
        if density > best_density or start == 0:
            best, best_density = x, density
    return best


@jit
def _climb(kind, count, x, means, scales, heights, room):
    """Return the log-density of the mixture at x, up to a constant, and a point where it is higher."""
    highest = -np.inf
    for k in range(count):
        z = abs(x - load(means, k)) / load_double(scales, k)
        exponent = load_double(heights, k) - (0.5 * z * z if kind == GAUSSIAN else z)
        store_double(room, k, exponent)
        highest = max(highest, exponent)
    density, pulls, pulled = 0.0, 0.0, 0.0
    for k in range(count):
        mean, scale = load(means, k), load_double(scales, k)
        part, pull = math.exp(load_double(room, k) - highest), 1.0
        if kind == LOGISTIC:  # exp(-z) / (1 + exp(-z))**2, and tanh(z / 2) / z
            z = abs(x - mean) / scale
            e = math.exp(-z)
            part /= (1 + e) * (1 + e)
            pull = 0.5 - z * z / 24 if z < 1e-4 else (1 - e) / ((1 + e) * z)
        pull *= part / (scale * scale)
        density += part
        pulls += pull
        pulled += pull * mean
    return highest + math.log(density), pulled / pulls
