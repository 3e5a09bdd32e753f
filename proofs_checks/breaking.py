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

from nlhf.algorithms.omwu import MEMORY
from proofs_checks import ascent
from proofs_checks.certificates.certify import certify_found
from proofs_checks.rows import Effort

BETAS = (1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0)
FACTORS = (1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0)
WITHIN = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0)  # where a method ends with its range
SIZES = (2, 3, 5, 11, 31)
CERTIFIED = 5  # actions up to which a violation is judged in ball arithmetic too
PASSES = 3
EXCESS = 1e-6  # beyond what rounding can add, so that a violation is none of arithmetic


class Scan(NamedTuple):
    """What is scanned for one method."""

    variant: str  # key of ``proofs_checks.claims.VARIANTS``
    claim: str  # the claim whose bound is judged
    proved: Callable[[Any], Any]  # ``proved(beta)``, the composite step up to which the claim is made
    explicit: bool  # whether the method's own step is explicit, η = g/(1 + gβ)
    factors: tuple[float, ...] = FACTORS  # multiples of ``proved`` that are tried first
    # steps of the runs; one shows an extragradient's loss, an optimistic method builds it up
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
    "omwu": Scan(
        "omwu",
        "omwu.kl",
        lambda beta: 2 * (beta + np.sqrt(beta**2 + MEMORY)) / MEMORY,
        True,
        num_steps=24,
    ),
}
NAMES: tuple[str, ...] = tuple(SCANS)


def breaking(name: str, effort: Effort) -> dict[str, Any]:
    """Scan the step size of a method beyond its proved range.

    A coarse grid of factors, then finer ones inside the bracket that it has found. What breaks the claim with
    few actions is where the search with more begins, so that breaking points do not rise with their number.

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
    # for each beta, the instance with the shortest violating step so far, over all sizes
    carried: list[dict[str, Any] | None] = [None for _ in betas]
    for size in sizes:
        ends = [beta_found["composite_step"] if beta_found else np.inf for beta_found in carried]
        grid = [
            np.append(scan.factors, min(end / scan.proved(beta), scan.factors[-1])) * scan.proved(beta)
            for beta, end in zip(betas, ends, strict=True)
        ]
        tried: list[dict[float, float]] = [{} for _ in betas]
        smallest: dict[str, Any] | None = None
        for _ in range(PASSES):
            steps = np.stack(grid)
            ratios, found = _search(scan, name, size, betas, steps, carried, effort)
            for b, row in enumerate(steps.tolist()):
                for step, ratio in zip(row, ratios[b].max(-1).tolist(), strict=True):
                    tried[b][step] = max(ratio, tried[b].get(step, 0.0))
                carried[b] = _shorter(carried[b], steps[b], ratios[b], found, b)
                smallest = _smaller(smallest, carried[b], float(scan.proved(betas[b])), size)
            brackets = [_bracket(entry) for entry in tried]
            if all(high is None for _, high in brackets):
                break
            grid = [
                np.linspace(low, high if high is not None else low, steps.shape[1] + 2)[1:-1]
                for low, high in brackets
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
    scan: Scan,
    name: str,
    size: int,
    betas: np.ndarray,
    grid: np.ndarray,
    carried: list[dict[str, Any] | None],
    effort: Effort,
) -> tuple[np.ndarray, Any]:
    """Return the ratios ``[B, G, M]`` of M searches at each β and step, and what was found.

    The first of the M begins at the instance that is carried for that β.
    """
    subject = ascent.subject_of(scan.variant, (scan.claim,), size, scan.num_steps)
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
    use = np.zeros(shape, bool)
    use[:, :, 0] = np.array([entry is not None for entry in carried])[:, None]
    blank = {"actions": 1, "advantage": [[0.0]], "log_nash": [0.0], "log_start": [0.0]}
    given = [ascent.candidate_of(entry or blank, size) for entry in carried]
    candidates = jax.tree.map(
        lambda *leaves: jnp.repeat(jnp.stack(leaves), beta.size // len(betas), 0), *given
    )
    key = jax.random.fold_in(effort.key("breaking." + name), size)
    found = ascent.ascend(subject, num_ascents, key, problem, (jnp.asarray(use.reshape(-1)), candidates))
    return np.asarray(found.ratio).reshape(shape), found


def _bracket(tried: dict[float, float]) -> tuple[float, float | None]:
    """Return the largest step below the first violation, and that violation's (``None`` without one)."""
    violated = [step for step, ratio in tried.items() if ratio > 1 + EXCESS]
    first = min(violated, default=None)
    fine = [step for step in tried if first is None or step < first]
    return max(fine, default=0.0), first


def _shorter(
    before: dict[str, Any] | None, steps: np.ndarray, ratios: np.ndarray, found: Any, b: int
) -> dict[str, Any] | None:
    """Return the instance with the shortest violating step at one β: the one before, or one just found."""
    violated = ratios.max(-1) > 1 + EXCESS
    if not violated.any():
        return before
    g = int(np.argmin(np.where(violated, steps, np.inf)))
    if before is not None and before["composite_step"] < steps[g]:
        return before
    row = int(np.ravel_multi_index((b, g, int(ratios[g].argmax())), (b + 1, *ratios.shape)))
    return {"composite_step": float(steps[g]), **ascent.instance_of(found, row)}


def _smaller(
    before: dict[str, Any] | None, found: dict[str, Any] | None, proved: float, size: int
) -> dict[str, Any] | None:
    """Return, of the instances with ``size`` actions, the one at the smallest multiple of the proved step."""
    if found is None or found["actions"] != size:
        return before
    factor = found["composite_step"] / proved
    return {"factor": factor, **found} if before is None or factor < before["factor"] else before
