"""The parts of an INN's two sides: x and y, z, and what pads both to one length."""

from numbers import Integral
from typing import Any, NamedTuple

from jaxtyping import Array

SHARPNESS = 10.0
"""Class probabilities are `softmax(SHARPNESS y)`: nearly certain where y is a one-hot vector."""


class InnOutput(NamedTuple):
    """What the map gives for x, y in its standardised form.

    Attributes:
        y: The part that stands for y, `(*batch, code_dim)`.
        z: The latent part, `(*batch, z_dim)`.
        padding: What fills it up to the length of the padded x.
        log_det: log|det J| of the map, or None.
    """

    y: Array
    z: Array
    padding: Array
    log_det: Array | None


class InnSizes(NamedTuple):
    """Lengths of `[x, padding] <-> [y, z, padding]`.

    Attributes:
        x: Length of x.
        y: Length of y, or the number of categories.
        z: Length of z.
        x_padding: Elements that pad x.
        z_padding: Elements that pad y and z.
    """

    x: int
    y: int
    z: int
    x_padding: int
    z_padding: int

    @property
    def total(self) -> int:
        """Length of both sides."""
        return self.x + self.x_padding


def inn_sizes(
    name: str,
    x_dim: Any,
    y_dim: Any,
    *,
    categories: Any = None,
    z_dim: Any = None,
    padding: Any = None,
    remedy: str = "expected padding of at least {padding}, or None to let it be chosen",
) -> InnSizes:
    """Find the lengths of an INN's parts, `x + x_padding = y + z + z_padding`.

    Args:
        name: What is built, for errors.
        x_dim: Length of x.
        y_dim: Length of y, or None where y is a label.
        categories: Number of categories, or None.
        z_dim: Length of z; None takes x_dim - y_dim, or x_dim where that is not positive or y is a
            label, if there is room.
        padding: Elements that pad x; None takes as few as y and z need.
        remedy: What to do where there is too little room, for errors; it may name the padding and
            the total that are needed.

    Returns:
        The lengths.

    Raises:
        ValueError: If a length is none, or y and z need more room.
    """
    if (y_dim is None) == (categories is None):
        raise ValueError(
            f"{name}: expected either y_dim, the length of y, or categories, the number of labels, "
            f"got y_dim={y_dim} and categories={categories}"
        )
    lengths = {"x_dim": (x_dim, 1)}
    lengths |= {"y_dim": (y_dim, 1)} if categories is None else {"categories": (categories, 2)}
    lengths |= {} if z_dim is None else {"z_dim": (z_dim, 1)}
    lengths |= {} if padding is None else {"padding": (padding, 0)}
    for key, (value, least) in lengths.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ValueError(
                f"{name}: expected {key} to be a whole number of at least {least}, got {value!r}"
            )
    y: Any = categories if y_dim is None else y_dim
    z = z_dim
    if z is None:
        z = x_dim - y if y_dim is not None and y < x_dim else x_dim
        if padding is not None:
            z = min(z, max(1, x_dim + padding - y))
    room = max(x_dim, y + z) if padding is None else x_dim + padding
    if y + z > room:
        what = f"y has {y} elements" if categories is None else f"y has {y} categories"
        raise ValueError(
            f"{name}: {what} and z has {z}, more than the {x_dim} of x and {padding} of padding "
            f"together; {remedy.format(padding=y + z - x_dim, total=y + z)}"
        )
    return InnSizes(x_dim, y, z, room - x_dim, room - y - z)
