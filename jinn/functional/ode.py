"""How an ordinary differential equation is solved: by diffrax, with options by name or object."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jinn.functional.solver import failures


class _StagesInRow(diffrax.AbstractERK):
    """An explicit Runge-Kutta method whose stages are written out, one after the other.

    diffrax loops over them, and evaluates each once more for the gradient: a training step of a
    continuous flow takes 0.8 of the time so.
    """

    tableau: ClassVar[diffrax.ButcherTableau]

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        """The derivative at the start, where the last stage of a step is the next one's first."""
        return terms.vf(t0, y0, args) if self.tableau.fsal else None

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        args: Any,
        solver_state: Any,
        made_jump: Any,
    ) -> tuple[Any, Any, dict[str, Any], Any, diffrax.RESULTS]:
        """One step; see diffrax."""
        tableau, control = self.tableau, terms.contr(t0, t1)

        def combine(weights: np.ndarray, stages: list[Any]) -> Any:
            def weighted(*leaves: Array) -> Array:
                used = [(float(w), k) for w, k in zip(weights, leaves, strict=True) if w != 0]
                return sum((w * k for w, k in used), start=jnp.zeros_like(leaves[0]))

            return jax.tree.map(weighted, *stages)

        def moved(weights: np.ndarray, stages: list[Any]) -> Any:
            return jax.tree.map(jnp.add, y0, combine(weights, stages))

        derivative = solver_state if tableau.fsal else terms.vf(t0, y0, args)
        stages, y = [terms.prod(derivative, control)], y0
        for weights, fraction in zip(tableau.a_lower, tableau.c, strict=True):
            y = moved(weights, stages)
            derivative = terms.vf(t0 + float(fraction) * (t1 - t0), y, args)
            stages.append(terms.prod(derivative, control))
        y1 = y if tableau.ssal else moved(tableau.b_sol, stages)
        dense = {"y0": y0, "y1": y1, "k": jax.tree.map(lambda *k: jnp.stack(k), *stages)}
        state = derivative if tableau.fsal else None
        return y1, combine(tableau.b_error, stages), dense, state, diffrax.RESULTS.successful


class _Tsit5(_StagesInRow, diffrax.Tsit5):
    pass


class _Dopri5(_StagesInRow, diffrax.Dopri5):
    pass


class _Bosh3(_StagesInRow, diffrax.Bosh3):
    pass


class RK4(_StagesInRow):
    """The classical Runge-Kutta method of order 4, for equal steps, four evaluations each.

    Reference:
        Beitrag zur näherungsweisen Integration totaler Differentialgleichungen (Kutta, 1901),
        Zeitschrift für Mathematik und Physik 46
    """

    tableau: ClassVar[diffrax.ButcherTableau] = diffrax.ButcherTableau(
        c=np.array([0.5, 0.5, 1.0]),
        b_sol=np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6]),
        b_error=np.zeros(4),
        a_lower=(np.array([0.5]), np.array([0.0, 0.5]), np.array([0.0, 0.0, 1.0])),
    )
    interpolation_cls: ClassVar[Callable[..., Any]] = (
        diffrax.ThirdOrderHermitePolynomialInterpolation.from_k
    )

    def order(self, terms: Any) -> int:
        """Order of convergence.

        Args:
            terms: What is solved.

        Returns:
            4.
        """
        return 4


SOLVERS: dict[str, Callable[[], diffrax.AbstractSolver]] = {
    "bosh3": _Bosh3,
    "dopri5": _Dopri5,
    "dopri8": diffrax.Dopri8,
    "euler": diffrax.Euler,
    "heun": diffrax.Heun,
    "midpoint": diffrax.Midpoint,
    "rk4": RK4,
    "tsit5": _Tsit5,
}
_WITHOUT_ERROR_ESTIMATE = ("euler", "rk4")

_FIRST_STEPS = 16
"""An adaptive solve first tries this fraction of the time; diffrax's own guess would be a 100th."""

ADJOINTS: dict[str, Callable[[], diffrax.AbstractAdjoint]] = {
    "backsolve": diffrax.BacksolveAdjoint,
    "direct": diffrax.DirectAdjoint,
    "recursive_checkpoint": diffrax.RecursiveCheckpointAdjoint,
}


@dataclass(frozen=True, kw_only=True)
class ODESolver:
    """How to solve `dx/dt = f(t, x)` for a batch of x.

    Attributes:
        solver: "tsit5", "dopri5", "dopri8", "bosh3", "heun", "midpoint", or for equal steps "rk4"
            and "euler"; or any diffrax solver.
        rtol: Relative tolerance of each step.
        atol: Absolute tolerance of each step.
        steps: Number of equal steps, without control of the error; None adapts the steps.
        controller: A diffrax step-size controller in place of the PID controller with the
            tolerances, or None. It starts with a step of 1 / `steps` of the time, or a 16th.
        max_steps: Most steps, rejected ones too, before the solve is given up.
        adjoint: How gradients are taken. "recursive_checkpoint": of the numerical solution, by
            reverse mode. "backsolve": by an equation solved backwards in time, in constant memory
            and only as exact as that solve. "direct": of the numerical solution by either mode,
            with memory for `max_steps` steps, which should be few. Or any diffrax adjoint.
        stepping: "joint": all batch entries take the same steps, which the one with the largest
            error rules. "per_sample": each takes its own, by `jax.vmap`: an entry that cannot be
            solved then spoils no other, at several times the cost.

    Raises:
        ValueError: If an option is unknown or out of range.
    """

    solver: str | diffrax.AbstractSolver = "tsit5"
    rtol: float = 1e-5
    atol: float = 1e-5
    steps: int | None = None
    controller: diffrax.AbstractStepSizeController | None = None
    max_steps: int = 1024
    adjoint: str | diffrax.AbstractAdjoint = "recursive_checkpoint"
    stepping: Literal["joint", "per_sample"] = "joint"

    def __post_init__(self) -> None:
        """Check the options."""
        _check_choice("solver", self.solver, SOLVERS, diffrax.AbstractSolver)
        _check_choice("adjoint", self.adjoint, ADJOINTS, diffrax.AbstractAdjoint)
        if self.stepping not in ("joint", "per_sample"):
            raise ValueError(
                'ODE solver: expected stepping to be "joint" or "per_sample", got '
                f"{self.stepping!r}"
            )
        controller = self.controller
        if controller is not None and not isinstance(
            controller, diffrax.AbstractStepSizeController
        ):
            raise ValueError(
                "ODE solver: expected controller to be a diffrax step-size controller or None, got "
                f"{controller!r}"
            )
        if not (self.rtol > 0 and self.atol > 0):
            raise ValueError(
                f"ODE solver: expected rtol > 0 and atol > 0, got {self.rtol} and {self.atol}"
            )
        if self.max_steps < 1 or (self.steps is not None and self.steps < 1):
            raise ValueError(
                "ODE solver: expected max_steps >= 1 and steps >= 1 or None, got "
                f"max_steps={self.max_steps} and steps={self.steps}"
            )
        if self.solver in _WITHOUT_ERROR_ESTIMATE and self.steps is None:
            raise ValueError(
                f"ODE solver: {self.solver!r} has no estimate of its error to adapt steps by; say "
                "how many equal steps to take, such as steps=8"
            )


def ode_solver(options: dict[str, Any], like: ODESolver | None = None) -> ODESolver:
    """Make an `ODESolver` of options by name.

    Args:
        options: Some of the attributes of an `ODESolver`.
        like: Where the others come from, or None for the defaults.

    Returns:
        The solver.

    Raises:
        ValueError: If an option is unknown or out of range.
    """
    known = [field.name for field in fields(ODESolver)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"ODE solver: unknown options {unknown}; expected some of {known}")
    return replace(like or ODESolver(), **options)


class ODESolution(NamedTuple):
    """What a solve ended with.

    Attributes:
        state: The state at the end, to be used only where `success`.
        success: Whether the end was reached, a scalar.
        steps: Number of steps taken, rejected ones too, a scalar.
        evaluations: Number of evaluations of the vector field, a scalar; those that an implicit
            solver needs for its equations are not counted.
    """

    state: Any
    success: Array
    steps: Array
    evaluations: Array


def solve_ode(
    field: Callable[[Array, Any], Any],
    state: Any,
    times: tuple[Any, Any],
    options: ODESolver,
    norm: Callable[[Any], Array],
) -> ODESolution:
    """Solve `ds/dt = field(t, s)` from one time to another.

    Args:
        field: Gives the derivative of the state. It may close over anything, also over arrays that
            are differentiated or mapped.
        state: A pytree of floating arrays of one type.
        times: Start and end; the end may come first.
        options: How to solve.
        norm: Size of a state's error, each element divided by its tolerance; at most 1 in an
            accepted step.

    Returns:
        The solution.
    """
    dtype = jax.tree.leaves(state)[0].dtype
    start, end = (jnp.asarray(t, dtype) for t in times)
    field, closed_over = jax.closure_convert(field, start, state)
    solver = SOLVERS[options.solver]() if isinstance(options.solver, str) else options.solver
    adjoint = ADJOINTS[options.adjoint]() if isinstance(options.adjoint, str) else options.adjoint
    controller, max_steps = options.controller, options.max_steps
    first_step = (end - start) / (options.steps or _FIRST_STEPS)
    if controller is None and options.steps is not None:
        controller, max_steps = diffrax.ConstantStepSize(), options.steps
    elif controller is None:
        controller = diffrax.PIDController(options.rtol, options.atol, norm=norm)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, s, args: field(jnp.asarray(t), s, *args)),
        solver,
        start,
        end,
        first_step,
        state,
        closed_over,
        stepsize_controller=controller,
        adjoint=adjoint,
        max_steps=max_steps,
        throw=False,
    )
    steps = jnp.asarray(solution.stats["num_steps"], jnp.int32)
    return ODESolution(
        jax.tree.map(lambda leaf: leaf[0], solution.ys),
        solution.result == diffrax.RESULTS.successful,
        steps,
        _evaluations(solver, steps),
    )


def _evaluations(solver: diffrax.AbstractSolver, steps: Array) -> Array:
    """Evaluations of the vector field in a number of steps."""
    tableau = getattr(solver, "tableau", None)
    if not isinstance(tableau, diffrax.ButcherTableau):
        return steps
    if tableau.fsal:  # the last stage of a step is the first one of the next
        return steps * (tableau.num_stages - 1) + 1
    return steps * tableau.num_stages


def warn_of_failures(name: str, converged: Array, options: ODESolver) -> None:
    """Warn, outside of transformations, which entries of a batch were not solved.

    Args:
        name: What to call the thing that solved.
        converged: Booleans of the batch's shape.
        options: How it solved.
    """
    failed = failures(converged)
    if failed is None:
        return
    shared = (
        '; or take stepping="per_sample", since with stepping="joint" one hard entry fails all'
        if options.stepping == "joint" and converged.size > 1
        else ""
    )
    advice = (
        f"take more than steps={options.steps}"
        if options.steps is not None
        else f"raise max_steps={options.max_steps} or loosen rtol={options.rtol:g} and "
        f"atol={options.atol:g}"
    )
    warnings.warn(
        f"{name}: the ODE was not solved for {failed}. Look for NaN or infinite inputs and "
        f"weights; if there are none, {advice}{shared}",
        RuntimeWarning,
        stacklevel=3,
    )


def _check_choice(option: str, value: Any, known: dict[str, Any], kind: type) -> None:
    if isinstance(value, kind) or (isinstance(value, str) and value in known):
        return
    raise ValueError(
        f"ODE solver: expected {option} to be one of {sorted(known)} or a diffrax "
        f"{kind.__name__}, got {value!r}"
    )
