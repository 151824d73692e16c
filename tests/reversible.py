"""What the tests of `backprop="invert"` share."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jinn.bijectors import half_mask, trainable

D = jnp.float64
MASK = half_mask(4)
OPTIONS = {"condition_shape": (2,), "hidden": (4,), "param_dtype": D}


def normal(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def shaken(module):
    """The same module with its parameters away from their start."""
    rng = np.random.default_rng(0)

    def move(leaf, learned):
        moved = np.asarray(leaf) + 0.2 * rng.normal(size=leaf.shape) * learned
        return jnp.asarray(moved, leaf.dtype)

    return jax.tree.map(move, module, trainable(module))


def loss(bijector, x, condition, key=None):
    """Something of all that both directions give."""
    z, log_det = bijector.forward_and_log_det(x, condition, key=key)
    back = jax.tree.map(lambda leaf: leaf + 0.3 * jnp.sin(leaf), z)
    again, other = bijector.inverse_and_log_det(back, condition, key=key)
    parts = sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(z))
    return parts + jnp.sum(log_det**2) + jnp.sum(jnp.cos(again)) + jnp.sum(jnp.sin(other))


def agree(make, x, condition=None, key=None, tolerance=1e-11):
    """Gradients with "invert" are those with "store", by the parameters, x and the condition."""
    by = (0, 1) if condition is None else (0, 1, 2)
    found = [
        jax.jit(jax.value_and_grad(loss, argnums=by))(shaken(make(backprop)), x, condition, key)
        for backprop in ("store", "invert")
    ]
    assert any(float(jnp.max(jnp.abs(leaf))) > 0.01 for leaf in jax.tree.leaves(found[0][1][0]))
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        scale = max(1.0, float(jnp.max(jnp.abs(one), initial=0.0)))
        np.testing.assert_allclose(one / scale, other / scale, rtol=0, atol=tolerance)


def kept(bijector, x, condition=None, *, inverse=False):
    """What `backprop="invert"` remembers of a call beside the output."""
    run = partial(bijector._run_forgetful, with_log_det=True, inverse=inverse)
    return jax.tree.leaves(jax.eval_shape(lambda x, c: run(x, c, None)[3], x, condition))
