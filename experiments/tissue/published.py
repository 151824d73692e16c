"""Published results of light transport, in mm and 1/mm, to validate against."""

from typing import NamedTuple

import numpy as np

from experiments.tissue.tissue import Tissue


class Published(NamedTuple):
    """A tissue and what is known of its light.

    Attributes:
        title: What it is.
        tissue: The tissue.
        values: By field of `transport.Light`; "total_reflectance" is specular and diffuse.
        errors: Standard errors of the published values, where they come from a simulation.
        source: Where the values are from.
    """

    title: str
    tissue: Tissue
    values: dict[str, float | tuple[float, ...]]
    errors: dict[str, float | tuple[float, ...]]
    source: str


_THREE_LAYERS = Tissue(
    [0.1, 0.1, 0.2],
    [10.0, 1.0, 1.0],
    [0.9, 0.0, 0.7],
    [1.0, 1.0, 2.0],
    (1.0, 1.37, 1.37, 1.37, 1.0),
)

PUBLISHED = {
    "van_de_hulst": Published(
        "van de Hulst's slab",
        Tissue([1.0], [9.0], [0.75], [0.2], (1.0, 1.0, 1.0)),
        {"reflectance": 0.09739, "transmittance": 0.66096},
        {},
        "Multiple Light Scattering. van de Hulst, 1980, volume 2, table 35",
    ),
    "giovanelli": Published(
        "Giovanelli's half-space",
        Tissue([1.0], [9.0], [0.0], [np.inf], (1.0, 1.5, 1.5)),
        {"total_reflectance": 0.2600},
        {},
        "Reflection by semi-infinite diffusers. Giovanelli, 1955, Optica Acta 2",
    ),
    "mcml_three_layers": Published(
        "MCML's three layers",
        _THREE_LAYERS,
        {
            "specular": 0.0243729,
            "reflectance": 0.237544,
            "transmittance": 0.0964896,
            "absorption": (0.2612, 0.1488, 0.2316),
        },
        # Those of a million photons, by MCML 2.0; by layer, measured here.
        {"reflectance": 3.1e-4, "transmittance": 1.9e-4, "absorption": (1.6e-4, 1.5e-4, 2.6e-4)},
        "MCML 1.2.2, the output that comes with its sample, a million photons",
    ),
    "mcml_2_three_layers": Published(
        "the same by MCML 2.0",
        _THREE_LAYERS,
        {
            "specular": 0.0243729,
            "reflectance": 0.237859,
            "transmittance": 0.0962212,
        },
        {"reflectance": 3.12e-4, "transmittance": 1.86e-4},
        "MCML 2.0, the output that comes with its second sample, a million photons",
    ),
}
