"""`check_bijector` passes a right bijector, and names the law that a wrong one breaks."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jinn
from jinn.bijectors import Bijector, Buffer, Sigmoid, check_bijector
from jinn.bijectors.check_report import BijectorLawError

pytestmark = pytest.mark.no_type_hook


@pytest.fixture(autouse=True)
def _ranks_as_users_have_them() -> Iterator[None]:
    with jax.numpy_rank_promotion("allow"):
        yield


X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32)
CONDITION = jnp.asarray(np.random.default_rng(1).normal(size=(8, 2)), jnp.float32)


class Scale(Bijector):
    """Multiply every element by exp(log_scale) and shift it by a matrix times the condition."""

    def __init__(self) -> None:
        self._declare((3,), condition_shape=(2,))
        self.log_scale = nnx.Param(jnp.zeros(3))
        self.kernel = nnx.Param(jnp.ones((2, 3)))

    def _shift(self, condition):
        return condition @ self.kernel[...]

    def _log_det(self, x):
        return jnp.broadcast_to(jnp.sum(self.log_scale[...]), x.shape[:-1])

    def _forward(self, x, condition, *, key, with_log_det):
        return x * jnp.exp(self.log_scale[...]) + self._shift(condition), self._log_det(x)

    def _inverse(self, y, condition, *, key, with_log_det):
        return (y - self._shift(condition)) * jnp.exp(-self.log_scale[...]), -self._log_det(y)


class WrongSign(Scale):
    def _forward(self, x, condition, *, key, with_log_det):
        y, log_det = super()._forward(x, condition, key=key, with_log_det=with_log_det)
        return y, -log_det


class WrongInverseLogDet(Scale):
    def _inverse(self, y, condition, *, key, with_log_det):
        x, log_det = super()._inverse(y, condition, key=key, with_log_det=with_log_det)
        return x, -log_det


class SlightlyWrongLogDet(Scale):
    def _log_det(self, x):
        return super()._log_det(x) + 1e-4


class WrongInverse(Scale):
    def _inverse(self, y, condition, *, key, with_log_det):
        return y * jnp.exp(-self.log_scale[...]), -self._log_det(y)


class SummedOverBatch(Scale):
    def _log_det(self, x):
        return jnp.sum(super()._log_det(x))


class MixesTheBatch(Scale):
    def _shift(self, condition):
        return jnp.mean(super()._shift(condition), tuple(range(condition.ndim - 1)))


class WrongWithoutLogDet(Scale):
    def _forward(self, x, condition, *, key, with_log_det):
        y, log_det = super()._forward(x, condition, key=key, with_log_det=with_log_det)
        return (y if with_log_det else y + 1), log_det


class DeadParameter(Scale):
    def __init__(self) -> None:
        super().__init__()
        self.forgotten = nnx.Param(jnp.zeros(3))


class LeakingBuffer(Scale):
    def __init__(self) -> None:
        super().__init__()
        self.offset = Buffer(jnp.ones(3))

    def _shift(self, condition):
        return super()._shift(condition) + self.offset[...]


class IntegerMask(Scale):
    def __init__(self) -> None:
        super().__init__()
        self.mask = jnp.array([1, 0, 1])


class NanGradient(Scale):
    """The square root of 0 has an infinite slope, which `where` turns into NaN."""

    def _shift(self, condition):
        positive = condition > 0
        root = jnp.where(positive, jnp.sqrt(jnp.maximum(condition, 0.0)), 0.0)
        return root @ self.kernel[...] + 0 * jnp.sqrt(jnp.sum(self.log_scale[...] * 0))


class OverflowsFarOut(Scale):
    """Softplus by its formula, which is exact near 0 and infinite far out."""

    def _forward(self, x, condition, *, key, with_log_det):
        y, log_det = super()._forward(x, condition, key=key, with_log_det=with_log_det)
        return y + 0 * jnp.log(1 + jnp.exp(x)), log_det


class NoErrors(Scale):
    def _check(self, x, condition, event_shape, argument):
        if condition is None:
            condition = jnp.zeros(2)
        return super()._check(x, condition, event_shape, argument)


class WrongKindOfError(Scale):
    def _check(self, x, condition, event_shape, argument):
        assert condition is not None
        return super()._check(x, condition, event_shape, argument)


class Mutates(Scale):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def _forward(self, x, condition, *, key, with_log_det):
        self.calls = self.calls + 1
        return super()._forward(x, condition, key=key, with_log_det=with_log_det)


class MutatesBuffer(Scale):
    def __init__(self) -> None:
        super().__init__()
        self.mean = Buffer(jnp.zeros(2))

    def _forward(self, x, condition, *, key, with_log_det):
        self.mean[...] = jnp.ones(2)
        return super()._forward(x, condition, key=key, with_log_det=with_log_det)


class Square(Scale):
    """No bijector: both signs have one image, and the Jacobian is that of another map."""

    def _forward(self, x, condition, *, key, with_log_det):
        y, _ = super()._forward(x, condition, key=key, with_log_det=with_log_det)
        return y**2, jnp.sum(jnp.log(jnp.abs(2 * y)), -1) + self._log_det(x)


WRONG = {
    WrongSign: (3, "forward: slogdet of the Jacobian"),
    WrongInverseLogDet: (3, "inverse: slogdet of the Jacobian"),
    SlightlyWrongLogDet: (3, "forward: slogdet of the Jacobian"),
    WrongInverse: (2, "inverse(forward(x)) = x"),
    SummedOverBatch: (1, "forward, 8 kinds of batches"),
    MixesTheBatch: (4, "forward: vmap of single events"),
    WrongWithoutLogDet: (4, "forward: vmap, condition not mapped, without log_det"),
    Mutates: (4, "calls leave the module alone"),
    MutatesBuffer: (4, "calls leave the module alone"),
    IntegerMask: (5, "all arrays are floating"),
    NanGradient: (5, "finite in the parameters"),
    DeadParameter: (5, "no dead parameter"),
    LeakingBuffer: (5, "no gradient in buffers"),
    OverflowsFarOut: (6, "forward: finite value"),
    NoErrors: (7, "forward: wrong arguments raise"),
    WrongKindOfError: (7, "inverse: wrong arguments raise"),
    Square: (2, "inverse(forward(x)) = x"),
}


def test_a_right_bijector_passes() -> None:
    report = check_bijector(Scale(), X, CONDITION)
    assert report and report.passed and not report.failures
    assert {result.law for result in report.results} == set(range(1, 8))
    assert "all laws hold" in str(report) and "FAILED" not in str(report)
    report.raise_if_failed()


@pytest.mark.parametrize("wrong", WRONG, ids=lambda cls: cls.__name__)
def test_a_wrong_bijector_is_caught_by_the_law_it_breaks(wrong: type[Scale]) -> None:
    report = check_bijector(wrong(), X, CONDITION, raise_on_failure=False)
    failed = {(result.law, result.check): result.message for result in report.failures}
    assert WRONG[wrong] in failed, str(report)
    assert not report
    print(report)
    assert failed[WRONG[wrong]] in "\n".join(line.strip() for line in str(report).splitlines())


def test_only_the_broken_laws_are_named() -> None:
    for wrong, laws in (
        (DeadParameter, {5}),
        (IntegerMask, {5}),
        (NoErrors, {7}),
        (WrongSign, {3}),
    ):
        report = check_bijector(wrong(), X, CONDITION, raise_on_failure=False)
        assert {result.law for result in report.failures} == laws, str(report)


def test_the_error_is_the_report() -> None:
    with pytest.raises(BijectorLawError, match="slogdet") as caught:
        jinn.bijectors.check_bijector(WrongSign(), X, CONDITION)
    assert isinstance(caught.value, AssertionError)
    text = str(caught.value)
    assert text == str(caught.value.report)
    assert "WrongSign (event (3,), condition (2,), float32)" in text
    assert "in nats" in text and "got [" in text and "expected [" in text
    assert max(map(len, text.splitlines())) < 130


def test_one_row_and_no_batch_will_do() -> None:
    assert check_bijector(Scale(), X[0], CONDITION[0])
    assert check_bijector(Scale(), X.reshape(2, 4, 3), CONDITION[:4])


def test_the_bijector_is_not_changed() -> None:
    bijector = Mutates()
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(bijector)]
    check_bijector(bijector, X, CONDITION, raise_on_failure=False)
    assert bijector.calls == 0
    np.testing.assert_equal([np.asarray(leaf) for leaf in jax.tree.leaves(bijector)], before)


def test_parameters_can_be_left_alone() -> None:
    """At its start, a map with a wrong sign of the log-scale is the identity."""

    class WrongOnlyFarFromTheStart(Scale):
        def _log_det(self, x):
            return 2 * super()._log_det(x)

    assert not check_bijector(WrongOnlyFarFromTheStart(), X, CONDITION, raise_on_failure=False)
    assert check_bijector(WrongOnlyFarFromTheStart(), X, CONDITION, perturbation=0.0)


def test_a_coarse_solver_passes_with_its_tolerance() -> None:
    class Coarse(Scale):
        def _inverse(self, y, condition, *, key, with_log_det):
            x, log_det = super()._inverse(y, condition, key=key, with_log_det=with_log_det)
            return x + 1e-3, log_det

    assert not check_bijector(Coarse(), X, CONDITION, raise_on_failure=False)
    assert check_bijector(Coarse(), X, CONDITION, solver_tolerance=1e-3)


def test_types_are_kept() -> None:
    with jax.enable_x64(True):
        wide = Scale()
        wide.log_scale = nnx.Param(jnp.zeros(3, jnp.float64))
        report = check_bijector(wide, X, CONDITION, raise_on_failure=False)
    failed = [result.check for result in report.failures]
    assert failed == ["forward, 8 kinds of batches", "inverse, 8 kinds of batches", "traced once"]


def test_bounds_are_found_or_given() -> None:
    report = check_bijector(Sigmoid((3,)), X)
    assert any("in the range of z" in result.check for result in report.results)
    report = check_bijector(Sigmoid((3,)), X, codomain=(0.0, 1.0))
    assert not any("in the range" in result.check for result in report.results)
    real = (-jnp.inf, jnp.inf)
    assert not check_bijector(Sigmoid((3,)), X, codomain=real, raise_on_failure=False)


class Halves(Bijector):
    """Split a vector of four into a dict of two, the second doubled."""

    def __init__(self) -> None:
        self._declare((4,), event_shape_out={"a": (2,), "b": (2, 1)})

    def _forward(self, x, condition, *, key, with_log_det):
        y = {"a": x[..., :2], "b": 2 * x[..., 2:, None]}
        return y, jnp.full(x.shape[:-1], 2 * np.log(2), x.dtype)

    def _inverse(self, y, condition, *, key, with_log_det):
        x = jnp.concatenate([y["a"], y["b"][..., 0] / 2], -1)
        return x, jnp.full(x.shape[:-1], -2 * np.log(2), x.dtype)


def test_events_may_be_dicts() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 4)), jnp.float32)
    assert check_bijector(Halves(), x)
    assert check_bijector(
        jinn.bijectors.Invert(Halves()),
        {"a": x[:, :2], "b": x[:, 2:, None]},
        domain=({"a": -1.0, "b": 0.0}, 1e3),
    )
    with jax.enable_x64(True):
        assert check_bijector(Halves(), jnp.asarray(x, jnp.float64))


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match=r"check flow\.bijector"):
        check_bijector(jinn.flows.real_nvp(2, hidden=(4,), depth=1, rngs=0), X[:, :2])
    with pytest.raises(ValueError, match="expected shape"):
        check_bijector(Scale(), X[:, :2], CONDITION)
    with pytest.raises(ValueError, match="condition is missing"):
        check_bijector(Scale(), X)
    with pytest.raises(ValueError, match="at least one row"):
        check_bijector(Scale(), X[:0], CONDITION[:0])
