"""Functions without an ONNX operator, composed of existing operators."""

from typing import Any

import torch
from torch import Tensor


def searchsorted(rising: Tensor, values: Tensor, *, right: bool = False, **others: Any) -> Tensor:
    """`torch.searchsorted` for one value in each row, (..., N) and (..., 1), by counting."""
    del others
    below = rising <= values if right else rising < values
    return below.sum(dim=-1, keepdim=True)


def ndtri(p: Tensor) -> Tensor:
    """`torch.special.ndtri` of numbers in (0, 1), in float64: algorithm AS 241 (Wichura, 1988), to about 1e-15."""
    p = p.double()
    q = p - 0.5
    central = 0.180625 - q * q
    tail = torch.sqrt(-torch.log(torch.minimum(p, 1 - p)))
    near, far = tail - 1.6, tail - 5.0
    outside = torch.where(tail <= 5, _ratio(near, _NEAR), _ratio(far, _FAR))
    return torch.where(q.abs() <= 0.425, q * _ratio(central, _CENTRAL), torch.sign(q) * outside)


def _ratio(x: Tensor, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
    """A ratio of polynomials, whose coefficients begin with the constant."""
    above, below = (torch.zeros_like(x) for _ in range(2))
    for a, b in zip(*map(reversed, coefficients), strict=True):
        above, below = above * x + a, below * x + b
    return above / below


_CENTRAL = (
    (
        3.3871328727963666080, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
        4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3,
    ),
    (
        1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
        2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3,
    ),
)  # fmt: skip
_NEAR = (
    (
        1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550, 3.64784832476320460504,
        1.27045825245236838258, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4,
    ),
    (
        1.0, 2.05319162663775882187, 1.67638483018380384940, 6.89767334985100004550e-1,
        1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9,
    ),
)  # fmt: skip
_FAR = (
    (
        6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580, 2.96560571828504891230e-1,
        2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7,
    ),
    (
        1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
        7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15,
    ),
)  # fmt: skip
DECOMPOSITIONS: dict[Any, Any] = {
    torch.ops.aten.searchsorted.Tensor: searchsorted,
    torch.ops.aten.special_ndtri.default: ndtri,
}
