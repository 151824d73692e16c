"""`backprop="invert"` with blocks of a user's own, and with containers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jinn.bijectors import ActNorm, Chain, Conjugate, Coupling, EmbedCondition, Graph, Node, Stack
from jinn.bijectors.base import Bijector, Buffer
from tests.reversible import MASK, OPTIONS, D, agree, kept, loss, normal, shaken


class Sines(Bijector):
    """`x + tanh(w) sin(x)`, inverted by iteration."""

    def __init__(self):
        self._declare((4,))
        self.w = nnx.Param(jnp.array(0.3, D))

    def _forward(self, x, condition, *, key, with_log_det):
        w = jnp.tanh(self.w[...])
        return x + w * jnp.sin(x), jnp.log(1 + w * jnp.cos(x)).sum(-1)

    def _inverse(self, y, condition, *, key, with_log_det):
        w, x = jnp.tanh(self.w[...]), y
        for _ in range(60):
            x = y - w * jnp.sin(x)
        return x, -jnp.log(1 + w * jnp.cos(x)).sum(-1)


class Scales(Bijector):
    """Multiplies by what a function gives, and permutes by integers of a buffer."""

    analytic_inverse = True

    def __init__(self, scale):
        self._declare((4,))
        self.scale, self.order = scale, Buffer(jnp.array([1, 3, 0, 2]))

    def _forward(self, x, condition, *, key, with_log_det):
        y = (x * self.scale())[..., self.order[...]]
        return y, jnp.broadcast_to(4 * jnp.log(self.scale()), x.shape[:-1])

    def _inverse(self, y, condition, *, key, with_log_det):
        x = y[..., jnp.argsort(self.order[...])] / self.scale()
        return x, jnp.broadcast_to(-4 * jnp.log(self.scale()), y.shape[:-1])


@pytest.mark.thorough
@pytest.mark.no_type_hook
@pytest.mark.usefixtures("x64")
def test_a_block_of_ones_own_that_iterates():
    def make(key):
        return Chain([Sines(), Coupling((4,), mask=MASK, rngs=key, **OPTIONS)])

    agree(lambda b: Stack(make, 2, rngs=0, backprop=b), normal((3, 4)), normal((3, 2), 1))


@pytest.mark.thorough
@pytest.mark.no_type_hook
@pytest.mark.usefixtures("x64")
def test_a_block_of_ones_own_with_integers():
    def gradient(backprop):
        def make(key):
            coupling = Coupling((4,), mask=MASK, rngs=key, **OPTIONS)
            return Chain([Scales(lambda: 2.0), coupling])

        stack = Stack(make, 2, rngs=0, backprop=backprop)
        run = jax.jit(jax.grad(loss, argnums=(0, 1), allow_int=True))
        by_stack, by_x = run(shaken(stack), normal((3, 4)), normal((3, 2), 1))
        leaves = [leaf for leaf in jax.tree.leaves(by_stack) if leaf.dtype == D]
        return [*leaves, by_x]

    for one, other in zip(gradient("store"), gradient("invert"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("transform", [lambda run: run, jax.jit])
@pytest.mark.no_type_hook
def test_gradients_by_what_a_block_closes_over_are_refused(transform):
    def run(scale):
        chain = Chain([Scales(lambda: scale)], backprop="invert")
        return chain.forward(jnp.ones((4,))).sum()

    with pytest.raises(Exception, match=r"closes over|closed-over"):
        jax.grad(transform(run))(2.0)


class Embedding(nnx.Module):
    def __init__(self):
        self.kernel = nnx.Param(jnp.asarray(normal((3, 2)), D))

    def __call__(self, condition):
        return jnp.sin(condition @ self.kernel[...])


@pytest.mark.thorough
@pytest.mark.no_type_hook
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "build",
    [
        lambda stack: EmbedCondition(stack, Embedding(), (3,)),
        lambda stack: EmbedCondition(Conjugate(stack[0], stack), Embedding(), (3,)),
        lambda stack: Graph(
            (4,),
            [Node("embedding", Embedding(), "condition"), Node("y", stack, "x", "embedding")],
            "y",
            condition_shape=(3,),
        ),
    ],
)
def test_containers_forget_what_their_members_do(build):
    def make(backprop):
        stack = Stack(lambda key: Coupling((4,), mask=MASK, rngs=key, **OPTIONS), 2, rngs=0)
        return Chain([build(stack), ActNorm((4,), param_dtype=D)], backprop=backprop)

    x, condition = normal((3, 4)), normal((3, 3), 1)
    assert make("invert").analytic_inverse
    assert kept(make("invert"), x, condition) == []
    agree(make, x, condition)
