"""Bijectors that solve say how it went, through every container, and mark what did not converge."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinn.bijectors import Affine, Chain, EmbedCondition, Invert, Permute, Stack
from jinn.bijectors.base import Bijector
from jinn.functional.solver import SolverInfo, direct, nan_unless


class Halving(Bijector):
    """`z = 2 x + shift`, inverted by `steps` steps of `x <- (x + (z - shift) / 2) / 2 ...`.

    An entry counts as converged where `|z|` is at most 10.
    """

    def __init__(self, steps: int, condition_shape: Any = None) -> None:
        self._declare((2,), condition_shape=condition_shape, fast_direction="forward")
        self.steps = steps

    def _shift(self, condition: Any) -> Any:
        return 0.0 if condition is None else condition

    def _forward(self, x, condition, *, key, with_log_det):
        return self._forward_with_info(x, condition, key=key, with_log_det=with_log_det)[:2]

    def _inverse(self, y, condition, *, key, with_log_det):
        return self._inverse_with_info(y, condition, key=key, with_log_det=with_log_det)[:2]

    def _forward_with_info(self, x, condition, *, key, with_log_det):
        log_det = jnp.full(x.shape[:-1], 2 * np.log(2), x.dtype)
        return 2 * x + self._shift(condition), log_det, direct(x.shape[:-1])

    def _inverse_with_info(self, y, condition, *, key, with_log_det):
        converged = jnp.max(jnp.abs(y), -1) <= 10
        count = jnp.full(y.shape[:-1], self.steps)
        x = nan_unless(converged, (y - self._shift(condition)) / 2)
        log_det = nan_unless(converged, jnp.full(y.shape[:-1], -2 * np.log(2), y.dtype))
        return x, log_det, SolverInfo(count, count + 1, converged)


Z = jnp.asarray([[1.0, 2.0], [3.0, 16.0], [-4.0, 5.0]])


def steps(infos):
    assert all(isinstance(info, SolverInfo) for info in infos)
    assert all(part.shape == (3,) for info in infos for part in info)
    return [int(info.steps[0]) for info in infos]


def test_a_bijector_that_solves_reports_one_info():
    x, log_det, info = Halving(4).inverse_with_info(Z)
    np.testing.assert_array_equal(info.steps, [4, 4, 4])
    np.testing.assert_array_equal(info.evaluations, [5, 5, 5])
    np.testing.assert_array_equal(info.converged, [True, False, True])
    np.testing.assert_array_equal(jnp.isnan(x).all(-1), [False, True, False])
    np.testing.assert_array_equal(jnp.isnan(log_det), [False, True, False])
    np.testing.assert_allclose(x[0], [0.5, 1.0])
    _, _, info = Halving(4).forward_with_info(Z)
    assert info.converged.all() and not info.steps.any()
    with pytest.raises(ValueError, match="Halving: y: expected shape"):
        Halving(4).inverse_with_info(Z[:, :1])


def test_a_bijector_that_does_not_solve_reports_nothing():
    for bijector in (Permute((2,), "reverse"), Chain([Affine((2,)), Permute((2,), "reverse")])):
        y, log_det, infos = bijector.forward_with_info(Z)
        assert infos == () and bijector.inverse_with_info(Z)[2] == ()
        np.testing.assert_array_equal(y, bijector.forward(Z))
        np.testing.assert_array_equal(log_det, bijector.log_det(Z))


def test_containers_collect_infos_in_the_order_in_which_they_ran():
    inner = Chain([Halving(2), Affine((2,)), Invert(Halving(3))])
    chain = Chain([Halving(1), inner, Permute((2,), "reverse"), Halving(4)])
    assert steps(chain.inverse_with_info(Z)[2]) == [4, 0, 2, 1]
    assert steps(chain.forward_with_info(Z)[2]) == [0, 0, 3, 0]
    assert steps(Invert(chain).forward_with_info(Z)[2]) == [4, 0, 2, 1]
    assert isinstance(Invert(Halving(2)).forward_with_info(Z)[2], SolverInfo)


def test_a_stack_gives_the_infos_of_its_blocks():
    def make_block(key):
        return Chain([Invert(Halving(3)), Affine((2,), scale=8.0), Halving(2)])

    stack = Stack(make_block, 2, rngs=0)
    y, log_det, infos = jax.jit(lambda stack, z: stack.inverse_with_info(z))(stack, Z)
    assert steps(infos) == [2, 0, 2, 0]
    chain = Chain(list(stack))
    for got, expected in zip(
        jax.tree.leaves((y, log_det, infos)),
        jax.tree.leaves(chain.inverse_with_info(Z)),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected)
    assert steps(stack.forward_with_info(Z)[2]) == [3, 0, 3, 0]
    gradient = jax.grad(lambda stack: stack.inverse_and_log_det(Z[:1])[1].sum())(stack)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_an_embedded_condition_passes_the_info_on():
    bijector = EmbedCondition(Halving(2, (2,)), lambda c: 2 * c, (2,))
    x, _, info = bijector.inverse_with_info(Z, jnp.ones((1, 2)))
    assert isinstance(info, SolverInfo) and int(info.steps[0]) == 2
    np.testing.assert_allclose(x[0], [-0.5, 0.0])


def test_no_gradient_reaches_an_entry_that_did_not_converge():
    gradient = jax.grad(lambda z: jnp.nansum(Halving(2).inverse(z)))(Z)
    np.testing.assert_allclose(gradient, [[0.5, 0.5], [0.0, 0.0], [0.5, 0.5]])
