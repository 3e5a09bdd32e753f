"""The claims of the algorithms on the whole bank: one batched run serves all claims of a method.

A method and its control are rows of the same batch. The control is left a share of the pull towards the
reference (the method for β/2, say, on the game with β); for β = 0 it mistakes P for its transpose. Step sizes
are shares of the end of the range that the claim covers, the end included.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import nlhf
from nlhf.algorithms import ALGORITHM_NAMES
from nlhf.base import Algorithm, Claim, Constants
from nlhf.errors import InputError
from nlhf.method import default, find
from proofs_checks import bound as bounds
from proofs_checks.controls import CONTROLS, signed
from proofs_checks.instances import Bank, build, describe
from proofs_checks.rates import fit_linear, fit_power
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.bounds import constants
from tabular.games import with_beta
from tabular.runner import Axes, run
from tabular.traces import Measure

Array = jax.Array
FITS = 40  # instances whose rate is fitted
INNER = 60  # inner steps of nash_prox: at most 1e-18 of the distance is left where η <= 2β or β >= 1/2


class Variant(NamedTuple):
    """How to make an algorithm for a bank."""

    make: Callable[[Any, Any], Algorithm]  # ``make(step_size, beta) -> Algorithm``, traceable
    longest: Callable[[Any], Any]  # ``longest(beta)``, the largest step tried where a range has no end
    schedule: bool = False  # whether the step size is the algorithm's own schedule
    pull: float = 0.5  # what share of the pull towards the reference its control is left


def _longest(beta: Any) -> Any:
    return 1 / beta


# what the records do not say: steps where a range has no end, inner steps, a step that is a schedule
_SPECIAL: dict[str, dict[str, Variant]] = {
    "online_mirror_descent": {
        "online_mirror_descent": Variant(nlhf.online_mirror_descent, lambda beta: 4.0 + 0 * beta)
    },
    "nash_md": {
        "nash_md.constant": Variant(nlhf.nash_md, _longest),
        "nash_md.decreasing": Variant(lambda step, beta: nlhf.nash_md(None, beta), _longest, True, 0.125),
    },
    "nash_mirror_prox": {"nash_mirror_prox": Variant(nlhf.nash_mirror_prox, lambda beta: 10.0 + 0 * beta)},
    "nash_prox": {
        "nash_prox": Variant(
            lambda step, beta: nlhf.nash_prox(step, beta, INNER),
            lambda beta: jnp.where(beta >= 0.5, 100.0, 2 * beta),
        )
    },
}


def _variants() -> dict[str, Variant]:
    """Every algorithm whose record makes claims, in the order of the list."""
    found: dict[str, Variant] = {}
    for name in ALGORITHM_NAMES:
        if name in _SPECIAL:
            found |= _SPECIAL[name]
        elif default(name, 0.1).claims:
            record = find(name)
            found[name] = Variant(functools.partial(record.factory, **record.settings(0.1, None)), _longest)
    return found


VARIANTS: dict[str, Variant] = _variants()


def claims_of(variant: str) -> tuple[Claim, ...]:
    """Return the claims that a variant makes."""
    return VARIANTS[variant].make(0.1, 0.1).claims


def banks(effort: Effort) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Sizes of the banks: instances and numbers of actions."""
    return effort.pick(((160, (2, 3, 4, 5)),), ((1024, (2, 3, 4, 5, 8)), (160, (16, 32)), (32, (100, 200))))


class Measured(NamedTuple):
    """One batch of runs."""

    bank: Bank  # the instances
    step_size: np.ndarray  # ``[N]``
    constants: Constants  # what bounds may depend on, each ``[N]``
    delta: np.ndarray  # ``[N, R]`` rounding in nats
    method: dict[Measure, np.ndarray]  # metric values ``[N, R]`` by measure
    control: dict[Measure, np.ndarray]  # the same of the control


def judge_claim(variant: str, claim: Claim, effort: Effort, mistake: str = "") -> Outcome:
    """Measure one claim on every instance of the bank.

    Args:
      variant: key of ``VARIANTS``.
      effort: how many instances and steps.
      mistake: key of ``CONTROLS``, to be made in the method itself: the claim should then fail.
    """
    measure = Measure(claim.metric, claim.iterate)
    worst, longest, control, witness, instances = -math.inf, -math.inf, -math.inf, {}, 0
    fits: list[tuple[float, float]] = []
    for count, sizes in banks(effort):
        part = measured(variant, claim.regularised, claim.step_size_range, effort, count, sizes, mistake)
        ratios, ceiling = ratios_of(claim, part, part.method[measure])
        row, index, here = bounds.worst(ratios)
        instances += count
        if here > worst:
            worst = here
            witness = {
                **describe(part.bank, row),
                "step_size": float(part.step_size[row]),
                "step": index,
                "measured": float(part.method[measure][row, index]),
                "bound": float(ceiling[row, index]),
            }
        # tiny steps keep both sides of a bound near the start: tightness shows at the end of the range
        full = np.asarray(part.bank.share) == 1.0
        moved = bounds.moved(part.method[measure])
        longest = max(longest, bounds.worst(np.where(moved, ratios, 0.0)[full])[2])
        wrong, _ = ratios_of(claim, part, part.control[measure])
        control = max(control, bounds.worst(wrong)[2])
        if not fits:
            fits = _fits(claim, part, part.method[measure], ceiling)
    detail = {"worst at the longest step": longest}
    if fits:
        share = np.array([fitted / proved for fitted, proved in fits])
        detail |= {
            "fits": float(len(fits)),
            "slowest fitted / proved rate": float(share.min()),
            "median fitted / proved rate": float(np.median(share)),
        }
    pull = f"{VARIANTS[variant].pull:g} of the pull towards the reference"
    said = pull if claim.regularised else "P mistaken for its transpose"
    return Outcome(instances, worst, said, control, witness=witness, detail=detail)


@functools.lru_cache(maxsize=6)
def measured(
    variant: str,
    regularised: bool,
    step_size_range: Callable,
    effort: Effort,
    count: int,
    sizes: tuple[int, ...],
    mistake: str = "",
) -> Measured:
    """Run a method and its control on a bank, recording every metric that its claims name.

    Args:
      variant: key of ``VARIANTS``.
      regularised: the game with β > 0, or the original one.
      effort: how many steps, and the seed.
      count: instances.
      sizes: numbers of actions.
      mistake: as for ``judge_claim``.
    """
    bank = bank_of(effort, count, sizes)
    if not regularised:
        bank = bank._replace(game=with_beta(bank.game, jnp.zeros(count)))
    beta = np.asarray(bank.game.beta)
    _, high = step_size_range(beta)
    recipe = VARIANTS[variant]
    high = np.where(np.isfinite(high), high, recipe.longest(np.where(beta > 0, beta, 1.0)))
    step_size = np.asarray(bank.share) * high
    claims = [claim for claim in claims_of(variant) if claim.regularised == regularised]
    measures = tuple(dict.fromkeys(Measure(claim.metric, claim.iterate) for claim in claims))
    both = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), (bank, jnp.asarray(step_size)))
    doubled, steps = both
    wrong = jnp.repeat(jnp.array([1.0, recipe.pull]), count) if regularised else jnp.ones(2 * count)
    method = jax.vmap(recipe.make)(steps, wrong * doubled.game.beta)._replace(claims=())
    if mistake:
        method = CONTROLS[mistake].apply(method)
    sign = jnp.ones(2 * count) if regularised else jnp.repeat(jnp.array([1.0, -1.0]), count)
    num_steps = effort.pick(60, 150)
    trace = run(
        signed(method, sign),
        doubled.game,
        num_steps=num_steps,
        start=doubled.start,
        log_nash=doubled.log_nash,
        measures=measures,
        axes=(Axes(algorithm=0, game=0, start=0, log_nash=0),),
    )
    own = np.full(count, math.nan) if recipe.schedule else step_size
    known, delta = _known(bank, jnp.asarray(own), jnp.arange(num_steps + 1.0))
    values = {measure: np.asarray(trace.values[measure]) for measure in measures}
    return Measured(
        bank,
        step_size,
        jax.tree.map(np.asarray, known),
        np.asarray(delta),
        {measure: value[:count] for measure, value in values.items()},
        {measure: value[count:] for measure, value in values.items()},
    )


@functools.lru_cache(maxsize=3)
def bank_of(effort: Effort, count: int, sizes: tuple[int, ...]) -> Bank:
    """Return the bank of the claims."""
    return build(effort.key("claims"), count, sizes)


@jax.jit
def _known(bank: Bank, step_size: Array, step: Array) -> tuple[Constants, Array]:
    def one(bank: Bank, step_size: Array) -> tuple[Constants, Array]:
        return (
            constants(bank.game, bank.log_nash, bank.start, step_size),
            bounds.log_rounding(bank.game, bank.start, step, step_size),
        )

    return jax.vmap(one)(bank, step_size)


def ratios_of(claim: Claim, part: Measured, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return measured/bound, less what rounding can add, and the bound, ``[N, R]`` each.

    Args:
      claim: one of the claims of the batch's method.
      values: ``[N, R]`` what was measured.
    """
    columns = Constants(*(np.asarray(entry)[:, None] for entry in part.constants))
    step = jnp.arange(float(values.shape[1]))[None, :]
    ceiling = np.broadcast_to(np.asarray(claim.bound(step, columns)), values.shape)
    ratios = bounds.ratio(claim, values, ceiling, part.delta, columns.beta)
    return np.asarray(ratios), ceiling


def _fits(claim: Claim, part: Measured, values: np.ndarray, ceiling: np.ndarray) -> list[tuple[float, float]]:
    """Fitted and proved rates, of the instances whose window covers a fall by e² at least.

    Before that an instance shows its transient: far from equilibrium exploitability is saturated. Nor is one
    fitted whose bound never comes below the start: there the promised decay has not begun.
    """
    if claim.rate is None:
        return []
    proved = np.broadcast_to(np.asarray(claim.rate(part.constants)), (len(values),))
    fit = fit_linear if claim.rate_kind == "linear" else fit_power
    step = np.arange(values.shape[1])
    found = []
    for row in np.flatnonzero(ceiling[:, -1] < values[:, 0]):
        floor = max(1e-26, float(part.delta[row, -1]) ** (1 if "span" in claim.metric else 2) * 1e4)
        try:
            result = fit(step, values[row], floor=floor)
        except InputError:
            continue  # it reached the floor at once, or started there
        inside = values[row][[result.start, result.stop]]
        if inside[1] < inside[0] * math.exp(-2):
            found.append((result.rate, float(proved[row])))
        if len(found) == FITS:
            break
    return found


def _assumptions(claim: Claim) -> str:
    if not claim.regularised:
        return "β = 0, π_0 of full support"
    if claim.name == "nash_prox.kl":
        return f"β > 0, π_0 of full support; here {INNER} inner steps, η <= 2β, and η <= 100 where β >= 1/2"
    return "β > 0, π_0 of full support, P + Pᵀ = 1"


CHECKS: tuple[Check, ...] = tuple(
    check_of(
        claim.name,
        claim.statement,
        _assumptions(claim),
        functools.partial(judge_claim, variant, claim),
        claim.status,
        claim.source,
        kind="claim",
        subject=variant.split(".")[0],
    )
    for variant in VARIANTS
    for claim in claims_of(variant)
)
