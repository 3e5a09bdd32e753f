"""Where a claim stops holding: its step size pushed beyond the proved range, game after game searched.

Steps are compared in composite form g, in which all methods of the family share their stability limits. A
*violation* is an instance, found by gradient ascent, whose measured value exceeds the bound by more than
rounding; where none is found beyond the proved range, nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from proofs_checks import ascent
from proofs_checks.certificates.certify import certify_found
from proofs_checks.rows import Effort

BETAS = (1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0)
FACTORS = (1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0)
WITHIN = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0)  # where a method ends with its range
SIZES = (2, 3, 5, 11, 31)
CERTIFIED = 5  # actions up to which a violation is judged in ball arithmetic too
EXCESS = 1e-6  # beyond what rounding can add, so that a violation is none of arithmetic


class Scan(NamedTuple):
    """What is scanned for one method.

    Attributes:
      variant: key of ``proofs_checks.claims.VARIANTS``.
      claim: the claim whose bound is judged.
      proved: ``proved(beta)``, the composite step up to which the claim is made.
      explicit: whether the method's own step is explicit, η = g/(1 + gβ).
      factors: multiples of ``proved`` that are tried first.
      num_steps: steps of the runs; one shows an extragradient's loss, an optimistic method builds it up.
    """

    variant: str
    claim: str
    proved: Callable[[Any], Any]
    explicit: bool
    factors: tuple[float, ...] = FACTORS
    num_steps: int = 4


SCANS: dict[str, Scan] = {
    "online_mirror_descent": Scan(
        "online_mirror_descent", "online_mirror_descent.kl", lambda beta: 4 * beta, True
    ),
    "nash_md": Scan("nash_md.constant", "nash_md.constant.kl_sharp", lambda beta: 1 / beta, False, WITHIN),
    "nash_mirror_prox": Scan(
        "nash_mirror_prox",
        "nash_mirror_prox.kl",
        lambda beta: 2 * beta + 2 * np.sqrt(1 + beta**2),
        False,
    ),
    "egpo": Scan("egpo", "egpo.kl", lambda beta: 2.0 + 0 * beta, True),
    "omwu": Scan("omwu", "omwu.long_step", lambda beta: 1.0 + 0 * beta, True, num_steps=24),
}
NAMES: tuple[str, ...] = tuple(SCANS)


def breaking(name: str, effort: Effort) -> dict[str, Any]:
    """Scan the step size of a method beyond its proved range.

    Two passes: a coarse grid of factors, then a finer one inside the bracket that the first has found.

    Args:
      name: key of ``SCANS``; Nash-MD's mixture weight ends at ηβ = 1, so its scan ends there too.
      effort: seed, and how many sizes, betas and searches.

    Returns:
      JSON values: ``claim``, and ``points``, one for each number of actions and β: ``proved_to``,
      ``holds_to`` (the largest step below the first violation at which none was found), ``violated_from``
      (``None`` if no step tried is violated), all composite steps, ``worst`` (largest ratio at the proved
      end) and ``grid`` (pairs of step and largest ratio); ``instances``: for each number of actions the
      violating instance with the smallest step (``in_balls``: its verdict in ball arithmetic).
    """
    scan = SCANS[name]
    betas = np.asarray(effort.pick(BETAS[1:4:2], BETAS))
    sizes = effort.pick(SIZES[1:2], SIZES)
    points: list[dict[str, Any]] = []
    instances: list[dict[str, Any]] = []
    for size in sizes:
        grid = [np.asarray(scan.factors) * scan.proved(beta) for beta in betas]
        tried: list[dict[float, float]] = [{} for _ in betas]
        smallest: dict[str, Any] | None = None
        for _ in range(2):
            ratios, found = _search(scan, name, size, betas, np.stack(grid), effort)
            for b, steps in enumerate(grid):
                tried[b].update(zip(steps.tolist(), ratios[b].max(-1).tolist(), strict=True))
            smallest = _smaller(smallest, scan, betas, np.stack(grid), ratios, found)
            brackets = [_bracket(entry) for entry in tried]
            if all(high is None for _, high in brackets):
                break
            grid = [
                np.linspace(low, high if high is not None else low, len(steps) + 2)[1:-1]
                for (low, high), steps in zip(brackets, grid, strict=True)
            ]
        for beta, entry in zip(betas, tried, strict=True):
            low, high = _bracket(entry)
            proved = float(scan.proved(beta))
            points.append(
                {
                    "actions": size,
                    "beta": float(beta),
                    "proved_to": proved,
                    "holds_to": low,
                    "violated_from": high,
                    "worst": entry.get(proved, max(entry[step] for step in entry if step <= proved)),
                    "grid": [[step, entry[step]] for step in sorted(entry)],
                }
            )
        if smallest is not None:
            if size <= CERTIFIED:
                smallest["in_balls"] = certify_found(scan.claim, smallest, scan.num_steps)
            instances.append(smallest)
    return {"claim": scan.claim, "points": points, "instances": instances}


def _search(
    scan: Scan, name: str, size: int, betas: np.ndarray, grid: np.ndarray, effort: Effort
) -> tuple[np.ndarray, Any]:
    """Return the ratios ``[B, G, M]`` of M searches at each β and step, and what was found."""
    subject = ascent.Subject(scan.variant, (scan.claim,), size, scan.num_steps)
    num_searches, num_ascents = effort.pick((4, 40), (12 if size <= 5 else 8, 150))
    shape = (*grid.shape, num_searches)
    beta = np.broadcast_to(betas[:, None, None], shape).reshape(-1)
    composite = np.broadcast_to(grid[:, :, None], shape).reshape(-1)
    own = composite / (1 + composite * beta) if scan.explicit else composite
    _, end = subject.claims[0].step_size_range(beta)
    problem = ascent.Problem(
        weight=jnp.ones((beta.size, 1)),
        stretch=jnp.asarray(own / np.asarray(end)),
        beta=jnp.asarray(beta),
    )
    key = jax.random.fold_in(effort.key("breaking." + name), size)
    found = ascent.ascend(subject, num_ascents, key, problem)
    return np.asarray(found.ratio).reshape(shape), found


def _bracket(tried: dict[float, float]) -> tuple[float, float | None]:
    """Return the largest step below the first violation, and that violation's (``None`` without one)."""
    violated = [step for step, ratio in tried.items() if ratio > 1 + EXCESS]
    first = min(violated, default=None)
    fine = [step for step in tried if first is None or step < first]
    return max(fine, default=0.0), first


def _smaller(
    before: dict[str, Any] | None,
    scan: Scan,
    betas: np.ndarray,
    grid: np.ndarray,
    ratios: np.ndarray,
    found: Any,
) -> dict[str, Any] | None:
    """Return the violating instance at the smallest multiple of the proved step, of those seen so far."""
    factor = grid / np.asarray([scan.proved(beta) for beta in betas])[:, None]
    violated = ratios.max(-1) > 1 + EXCESS
    if not violated.any():
        return before
    b, g = np.unravel_index(np.argmin(np.where(violated, factor, np.inf)), factor.shape)
    if before is not None and before["factor"] <= factor[b, g]:
        return before
    row = int(np.ravel_multi_index((b, g, ratios[b, g].argmax()), ratios.shape))
    return {
        "factor": float(factor[b, g]),
        "composite_step": float(grid[b, g]),
        **ascent.instance_of(found, row),
    }
