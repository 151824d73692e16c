"""What a user gets wrong with autoregressive flows is a ValueError that says what to do."""

import jax
import jax.numpy as jnp
import pytest

from jinn.bijectors import MaskedAutoregressive
from jinn.flows import iaf, maf, real_nvp
from jinn.losses import distillation
from jinn.networks import MaskedMLP
from tests.errors import raises

NETWORK = MaskedMLP(3, 2, hidden=(4,), order=(2, 1, 0), rngs=0)


def distil(student, teacher):
    return distillation(teacher)(student, (jnp.ones((2, 3)), jnp.ones((2, 1))), jax.random.key(0))


def small(**options):
    return real_nvp(3, **({"depth": 1, "hidden": (4,), "rngs": 0} | options))


CASES = {
    "order of a network": (
        lambda: MaskedMLP(3, 2, order=(0, 1), rngs=0),
        "MaskedMLP: expected order to be the integers 0 to 2, each once",
        "got (0, 1)",
    ),
    "order, twice the same": (
        lambda: MaskedAutoregressive((3,), order=(0, 1, 1), rngs=0),
        "MaskedAutoregressive: expected order to be the integers 0 to 2",
        "got (0, 1, 1)",
    ),
    "order, no integers": (
        lambda: MaskedAutoregressive((3,), order="random", rngs=0),
        "expected order to be the integers 0 to 2",
        "got 'random'",
    ),
    "order, not the network's": (
        lambda: MaskedAutoregressive((3,), conditioner=NETWORK, order=(0, 1, 2)),
        "expected the order (2, 1, 0) of the MaskedMLP, got order=(0, 1, 2); leave it out",
    ),
    "network of another size": (
        lambda: MaskedAutoregressive((4,), conditioner=NETWORK),
        "expected a MaskedMLP for 4 elements with 2 parameters each, got one for 3 with 2",
    ),
    "network sizes": (
        lambda: MaskedMLP(0, 2, rngs=0),
        "MaskedMLP: expected integers size >= 1, n_params >= 1 and at least one hidden width >= 1",
    ),
    "network sizes, no integers": (
        lambda: MaskedMLP(2.5, "2", rngs=0),  # type: ignore[arg-type]
        "MaskedMLP: expected integers size >= 1",
        "got size=2.5, n_params=2",
    ),
    "order, no sequence": (
        lambda: MaskedAutoregressive((3,), conditioner=NETWORK, order=3),  # type: ignore[arg-type]
        "MaskedAutoregressive: expected order to be the integers 0 to 2",
        "got 3",
    ),
    "residual": (
        lambda: MaskedMLP(3, 2, hidden=(4, 5), residual=True, rngs=0),
        "MaskedMLP: residual=True needs hidden layers of equal width, got hidden=(4, 5)",
    ),
    "condition of a network": (
        lambda: NETWORK(jnp.ones(3), jnp.ones(2)),
        "MaskedMLP: expected the condition's entries [], got ['condition']",
    ),
    "event": (
        lambda: MaskedAutoregressive((2, 2), rngs=0),
        "expected an event of shape (n,), got (2, 2); put a Reshape before it",
    ),
    "transformer of events": (
        lambda: MaskedAutoregressive((3,), transformer="volume_preserving", rngs=0),
        "MaskedAutoregressive: expected a transformer of single elements, got VolumePreserving",
    ),
    "rngs": (
        lambda: MaskedAutoregressive((3,)),
        "MaskedAutoregressive: the default conditioner needs rngs, such as rngs=0",
    ),
    "sizes of a flow": (
        lambda: maf(3, depth=0, rngs=0),
        "maf: expected integers event_dim >= 1, condition_dim >= 0 and depth >= 1",
    ),
    "mixing": (
        lambda: iaf(3, mixing="shuffle", rngs=0),
        "iaf: expected mixing to be one of ['permute', 'orthogonal', 'learned_orthogonal', "
        "'householder', 'plu', 'reverse'], got 'shuffle'",
    ),
    "reverse in a coupling flow": (
        lambda: small(mixing="reverse"),
        "real_nvp: expected mixing to be one of",
        "got 'reverse'",
    ),
    "transformer of a flow": (
        lambda: maf(3, transformer="cubic", rngs=0),
        "maf: expected transformer to be one of ['additive', 'affine', "
        "'rational_quadratic_spline', 'sigmoidal'], got 'cubic'",
    ),
    "teacher": (
        lambda: distillation("maf"),
        "distillation: expected a teacher with a method log_prob",
        "got str",
    ),
    "student of another condition": (
        lambda: distil(small(), small(condition_dim=1)),
        "distillation: expected a student with the condition_shape of its teacher, (1,), got None",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_errors(name):
    provoke, *parts = CASES[name]
    with raises(*parts):
        provoke()
