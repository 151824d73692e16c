"""Multi-scale flows made of FactorOut: names, shapes, log-densities, initialisation, reports."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jinn
from jinn.bijectors import ActNorm, Chain, FactorOut, Haar, Invert, Planar, Squeeze
from jinn.bijectors.module import first_not_finite
from jinn.distributions import Joint, Normal, StandardNormal, StudentT
from tests.registry_images import IMAGE_CASES

KEY = jax.random.key(0)
TWO = IMAGE_CASES["factor out, two scales"].make(jnp.float32)
THREE = IMAGE_CASES["factor out, three scales"].make(jnp.float32)


def data(n: int = 64) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(KEY)
    return 3.0 * jax.random.normal(keys[0], (n, 4, 4, 1)) + 5.0, jax.random.normal(keys[1], (n, 2))


def test_the_last_channels_leave_and_the_first_go_on() -> None:
    x = jnp.arange(6.0).reshape(1, 2, 3)
    bijector = FactorOut(Invert(ActNorm((1, 2, 2))), channels=1, name="out", rest_name="on")
    y = bijector.forward(x)
    np.testing.assert_array_equal(y["out"], x[..., 2:])
    np.testing.assert_array_equal(y["on"], x[..., :2])
    np.testing.assert_array_equal(bijector.inverse(y), x)


def test_nested_ones_give_one_flat_dict() -> None:
    assert THREE.event_shape_out == {"c": (2, 2, 2), "b": (1, 1, 3), "a": (1, 1, 5)}
    assert TWO.event_shape_out == {"fine": (2, 2, 2), "coarse": (8,)}
    assert TWO.condition_shape == (2,) and THREE.condition_shape is None
    assert TWO.fast_direction == "forward" and THREE.fast_direction == "both"


def test_log_densities_by_scale() -> None:
    x, condition = data()
    normal = StandardNormal(TWO.event_shape_out)
    parts: dict[str, Any] = {"fine": StandardNormal((2, 2, 2)), "coarse": StandardNormal((8,))}
    z, log_det = TWO.forward_and_log_det(x, condition)
    for base in (normal, Joint(parts)):
        by_name = base.log_probs(z)
        assert set(by_name) == {"fine", "coarse"}
        for name, part in parts.items():
            np.testing.assert_allclose(by_name[name], part.log_prob(z[name]), rtol=1e-6)
        total = by_name["fine"] + by_name["coarse"]
        np.testing.assert_allclose(total, base.log_prob(z), rtol=1e-6)
        flow = jinn.Flow(TWO, base)
        np.testing.assert_allclose(flow.log_prob(x, condition), total + log_det, rtol=1e-5)
        assert flow.sample(KEY, (3,), condition).shape == (3, 64, 4, 4, 1)
    mixed = Joint({"fine": StudentT((2, 2, 2), degrees_of_freedom=3.0), "coarse": Normal((8,))})
    by_name = mixed.log_probs(z)
    np.testing.assert_allclose(by_name["coarse"], normal.log_probs(z)["coarse"], rtol=1e-5)
    assert not np.allclose(by_name["fine"], normal.log_probs(z)["fine"])


def test_initialize_reaches_every_scale_in_both_directions() -> None:
    x, condition = data()
    for flow, extra in ((TWO, (condition,)), (THREE, ())):
        new = jinn.initialize(flow, x, *extra)
        assert not jinn.bijectors.module.needs_initialization(new)
        assert jinn.bijectors.module.needs_initialization(flow)
    coarse = jinn.initialize(THREE, x).forward(x)["a"]
    np.testing.assert_allclose(jnp.mean(coarse, 0), 0.0, atol=1e-4)
    np.testing.assert_allclose(jnp.var(coarse, 0), 1.0, atol=1e-3)
    z = {name: 2.0 + part for name, part in THREE.forward(x).items()}
    back = jinn.initialize(Invert(THREE), z)
    pixels = Haar((4, 4, 1)).forward(back.forward(z))
    np.testing.assert_allclose(jnp.mean(pixels, (0, 1, 2)), 0.0, atol=1e-4)


def test_infos_come_from_the_scale_that_solves() -> None:
    x, condition = data(4)
    moved = jax.tree.map(lambda leaf, learned: leaf + 0.1 * learned, TWO, jinn.trainable(TWO))
    z = moved.forward(x, condition)
    back, _, infos = moved.inverse_with_info(z, condition)
    assert len(infos) == 1 and infos[0].converged.all() and infos[0].converged.shape == (4,)
    np.testing.assert_allclose(back, x, atol=1e-3)


def test_a_part_that_is_not_finite_is_found_inside() -> None:
    x, _ = data(4)
    broken = Chain(
        [
            Squeeze((4, 4, 1)),
            FactorOut(ActNorm((2, 2, 3)), channels=1, name="a", rest_name="b"),
        ]
    )
    assert first_not_finite(broken, x) is None
    broken[1].rest.shift[...] = jnp.array([0.0, jnp.nan, 0.0])
    assert first_not_finite(broken, x) == "bijector[1].rest (ActNorm)"


def test_keys_reach_the_rest() -> None:
    from jinn.flows import residual_flow

    inner = residual_flow(12, depth=1, hidden=(4,), rngs=0).bijector
    flow = FactorOut(inner, channels=1, name="a", rest_name="b")
    flow = jax.tree.map(lambda leaf, learned: leaf + 0.1 * learned, flow, jinn.trainable(flow))
    x = jnp.linspace(-1.0, 1.0, 13)
    log_dets = [flow.log_det(x, key=jax.random.key(i)) for i in (0, 0, 1)]
    assert log_dets[0] == log_dets[1] != log_dets[2]


def test_gradients_and_jit_of_planar_scale() -> None:
    rest = Planar((3,), rngs=0)
    flow = jinn.Flow(
        FactorOut(rest, channels=2, name="a", rest_name="b"),
        StandardNormal({"a": (2,), "b": (3,)}),
    )
    x = jnp.ones((4, 5))
    loss = jax.jit(jax.grad(lambda flow: -jnp.mean(flow.log_prob(x))))
    assert any(jnp.any(leaf != 0) for leaf in jax.tree.leaves(loss(flow)))
