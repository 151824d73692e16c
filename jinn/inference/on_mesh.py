"""A posterior that uses several devices."""

from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import Array

from jinn.flows.devices import check_mesh
from jinn.inference.posterior import Posterior


class OnMesh:
    """A posterior whose samples and densities are computed by the devices of a mesh.

    It is for functions that take a posterior, such as the diagnostics:
    ``expected_coverage(OnMesh(posterior, mesh), x, y)``.

    Args:
        posterior: The posterior.
        mesh: The devices, ``jax.make_mesh((jax.device_count(),), ("data",))``.

    Raises:
        ValueError: If the mesh is none.
    """

    def __init__(self, posterior: Posterior, mesh: Mesh) -> None:
        """See the class."""
        self.posterior, self.mesh = posterior, check_mesh(mesh, "OnMesh")

    def sample(self, key: jax.Array, shape: int | tuple[int, ...] = (), y: Any = None) -> Array:
        """Draw samples, see `Posterior.sample`.

        Args:
            key: A JAX key.
            shape: Number of samples for each observation, an integer or leading axes.
            y: Observations `(*batch, *condition_shape)`.

        Returns:
            Samples of shape `(*shape, *batch, *event_shape)`.
        """
        return self.posterior.sample(key, shape, y, mesh=self.mesh)

    def log_prob(self, x: Any, y: Any) -> Array:
        """Log-density, see `Posterior.log_prob`.

        Args:
            x: Parameters `(*batch, *event_shape)`.
            y: Observations `(*y_batch, *condition_shape)`.

        Returns:
            Log-densities of shape `(*batch,)`, batch being the broadcast of both.
        """
        return self.posterior.log_prob(x, y, mesh=self.mesh)
