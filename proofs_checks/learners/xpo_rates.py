"""What exploration costs: online DPO waits exp(1/(8β)) comparisons where XPO's regret knows no β.

Hitting times and regret are measured on the two instances of ``rare``, over a class of nine policies with an
exact argmin; the regret bound on random bandits of three responses.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import ks_2samp

from proofs_checks.learners import rare
from proofs_checks.learners.outcomes import judged
from proofs_checks.learners.rare import SOLVED, WAITING, dpo_runs, hitting, jump, regret_runs, xpo_runs
from proofs_checks.learners.xpo_lemmas import PAPER, RARE
from proofs_checks.rows import Check, Effort, Outcome, check_of

PROPOSITION = f"{PAPER}, Proposition 2.1"
CAP = 1e12  # simulated hitting times end here


# Online DPO waits


def _slope(times: list[np.ndarray]) -> float:
    """Slope in 1/β of the logarithm of the 25 % quantile."""
    return float(np.polyfit(WAITING, np.log([np.quantile(each, 0.25) for each in times]), 1)[0])


def _xpo_times(effort: Effort) -> list[np.ndarray]:
    return [hitting(each) for each in xpo_runs(effort)["waiting"][0, :, 0]]


def _jumps(rng: np.random.Generator, seeds: int) -> dict[str, list[np.ndarray]]:
    """Simulated hitting times at each 1/β of ``WAITING``, by class."""
    return {name: [jump(rng, inverse, seeds, CAP, name) for inverse in WAITING] for name in ("paper", "grid")}


def _exponent(effort: Effort) -> Outcome:
    seeds = effort.pick(2000, 10000)
    slopes = {name: _slope(times) for name, times in _jumps(effort.rng("exponent"), seeds).items()}
    wrong = _slope(_xpo_times(effort))
    return judged(
        max(abs(slope / RARE - 1) for slope in slopes.values()) / 0.1,
        "XPO in its place",
        abs(wrong / RARE - 1) / 0.1,
        instances=2 * seeds * len(WAITING),
        detail={f"slope, {name} class": slope for name, slope in slopes.items()} | {"slope of XPO": wrong},
        inverse_beta=WAITING.tolist(),
    )


def _survival(effort: Effort) -> Outcome:
    seeds, end = effort.pick(2000, 10000), 0.5 * np.exp(RARE * WAITING)

    def least(times: list[np.ndarray]) -> float:
        return min(float((each > stop).mean()) for each, stop in zip(times, end, strict=True))

    share = min(least(times) for times in _jumps(effort.rng("survival"), seeds).values())
    # at the small 1/β the promise is a handful of comparisons, within which nothing is found
    other = least(_xpo_times(effort))
    return judged(
        0.25 / share,
        "XPO in its place",
        0.25 / max(other, 1e-6),
        instances=2 * seeds * len(WAITING),
        detail={"smallest share": share, "share of XPO": other},
    )


def _agreement(effort: Effort) -> Outcome:
    """Two-sample Kolmogorov-Smirnov distances, over the one that chance exceeds once in 10,000."""
    rng, seeds = effort.rng("agreement"), 20000
    runs = dpo_runs(effort)["waiting"][0, :, 0]
    length = runs.shape[-1] - 1

    def distance(both: float) -> np.ndarray:
        found = []
        for gaps, inverse in zip(runs, WAITING, strict=False):
            other = np.minimum(jump(rng, inverse, seeds, length, both=both), length)
            result = ks_2samp(hitting(gaps), other)
            critical = np.sqrt(np.log(2 / 1e-4) / 2 * (1 / len(gaps) + 1 / seeds))
            found.append(result.statistic / critical)
        return np.array(found)

    control, instances = "pairs drawn in one order only", runs.shape[0] * runs.shape[1]
    return judged(distance(2.0), control, distance(1.0), instances=instances, inverse_beta=WAITING)


def _frozen(effort: Effort) -> Outcome:
    """Share of runs that are not solved after twenty times the mean wait, against 1 - σ(1/2)."""
    exact = 1 - expit(0.5)
    runs = dpo_runs(effort)["waiting"][0, :3, 0]
    unsolved = (runs >= SOLVED).all(-1)
    other = (xpo_runs(effort)["waiting"][0, :3, 0] >= SOLVED).all(-1)

    def error(found: Any) -> float:
        return float(abs(found.mean() - exact) / (4 * np.sqrt(exact * (1 - exact) / found.size)))

    detail = {"share": unsolved.mean(), "predicted": exact, "share of XPO": other.mean()}
    return judged(error(unsolved), "XPO in its place", error(other), instances=unsolved.size, detail=detail)


# XPO's regret


def regret(gaps: np.ndarray, horizon: np.ndarray) -> np.ndarray:
    """``[3, B]`` mean regret over the first T comparisons, both instances and all seeds.

    Args:
      gaps: ``[3 or 1, B, 2, S, steps + 1]`` by horizon (or the same for all) and 1/β.
      horizon: ``[3]`` T.
    """
    by_horizon = np.broadcast_to(gaps, (3, *gaps.shape[1:]))
    return np.array(
        [each[..., :stop].mean((-1, -2, -3)) for each, stop in zip(by_horizon, horizon, strict=True)]
    )


def exponent(level: np.ndarray, horizon: np.ndarray) -> np.ndarray:
    """``[B]`` rate c of ``regret ~ T^-c``."""
    return -np.polyfit(np.log(horizon), np.log(level), 1)[0]


def _by_beta(what: str, values: np.ndarray) -> dict[str, float]:
    return {f"{what} at 1/β = {b:g}": value for b, value in zip(rare.INVERSE_BETAS, values, strict=True)}


def _regret_exponent(effort: Effort) -> Outcome:
    horizon, runs = rare.HORIZONS, regret_runs(effort)
    rate = exponent(regret(runs["right"], horizon), horizon)
    none, flipped = (exponent(regret(runs["wrong"][[which]], horizon), horizon).max() for which in (0, 1))
    return judged(
        0.4 / rate,
        "no optimism; the flipped sign",
        0.4 / max(none, flipped, 1e-3),
        instances=runs["right"][..., 0].size,
        detail=_by_beta("exponent", rate) | {"without optimism, largest": none, "flipped, largest": flipped},
        inverse_beta=rare.INVERSE_BETAS,
    )


def _regret_levels(effort: Effort) -> Outcome:
    level = regret(regret_runs(effort)["right"], rare.HORIZONS)[-1]
    waiting = dpo_runs(effort)["regret"]
    # online DPO is run no longer than this; it would still be waiting
    stop = min(int(rare.HORIZONS[-1]), waiting.shape[-1] - 1)
    other = waiting[0, ..., :stop].mean((-1, -2, -3))
    return judged(
        level.max() / level.min(),
        "online DPO against XPO's smallest",
        other.max() / level.min(),
        1.5,
        instances=regret_runs(effort)["right"][-1, ..., 0].size,
        detail=_by_beta("regret", level) | _by_beta("of online DPO", other),
    )


def _flipped(effort: Effort) -> Outcome:
    """Share of seeds that ever have a solved iterate."""
    gaps = xpo_runs(effort)["sign"][:, 0, 0, :, : rare.SIGN[1] + 1]
    right, flipped = (gaps < SOLVED).any(-1).mean(-1)
    control = "the right sign (share of seeds that solve it)"
    return judged(flipped, control, right, 0.0, instances=gaps.shape[1])


def _sweep(effort: Effort) -> Outcome:
    """Regret of the best scale over that of the better of the two ends, times 1.5."""
    runs, stop = xpo_runs(effort), rare.SHORT
    # without optimism and with the flipped sign the scale does not matter
    level, flat = (runs[name][:, 0, :, :, :stop].mean((-1, -2, -3)) for name in ("sweep", "flat"))
    return judged(
        1.5 * (level.min() / min(level[0], level[-1])),
        "no optimism against the flipped sign",
        1.5 * (flat.min() / flat.max()),
        instances=runs["sweep"][..., 0].size,
        detail={f"regret at α/β = {s:g}": c for s, c in zip(rare.SCALES, level, strict=True)},
        inverse_beta=200.0,
        comparisons=stop,
    )


# The sampler's part and the bonus's part


CELLS = ("on-policy, no bonus", "on-policy, bonus", "reference, no bonus", "reference, bonus")


def ablation(effort: Effort) -> np.ndarray:
    """``[4, 2]`` median over seeds of the gap in the last 50 of 400 comparisons, by cell and instance."""
    inverse, stop = rare.ABLATION
    batch = rare.Batch()
    # the value once, with the weight that XPO's bonus has gathered after all comparisons
    batch.add(effort.key("vpo_ablation"), "ablation", rare.FIXED * stop, inverse, [rare.GOOD, rare.BAD], 20)
    value = batch.play("vpo", stop)["ablation"]
    none, bonus = xpo_runs(effort)["ablation"]
    cells = (dpo_runs(effort)["ablation"][0], value[0], none, bonus)
    ends = np.stack([each[0, ..., stop - 50 : stop] for each in cells])
    return np.median(ends.mean(-1), axis=-1)


def _ablation(effort: Effort) -> Outcome:
    table = ablation(effort)
    worse = table.max(1) / SOLVED
    return judged(
        worse[-1],
        "without the bonus, without the reference's draw, without both (the best of the three)",
        worse[:-1].min(),
        1.0,
        instances=160,
        detail={
            f"{kind} arm, {cell}": gap
            for cell, both in zip(CELLS, table, strict=True)
            for kind, gap in zip(("good", "bad"), both, strict=True)
        },
        inverse_beta=rare.ABLATION[0],
        comparisons=rare.ABLATION[1],
    )


def _ablation_parts(effort: Effort) -> Outcome:
    """Cells whose verdict is not the predicted one; the control predicts that the sampler does not matter."""
    solved = ablation(effort) < SOLVED
    predicted = np.array([[False, True], [True, False], [False, True], [True, True]])
    sampler_blind = np.array([[False, True], [True, True], [False, True], [True, True]])
    bonus_blind = np.array([[False, True], [False, True], [True, True], [True, True]])
    wrong = min((solved != each).sum() for each in (sampler_blind, bonus_blind))
    control = "only the bonus matters; only the sampler matters"
    return judged((solved != predicted).sum(), control, wrong, 0.0, instances=8)


_row = functools.partial(check_of, source="measured here", kind="separation", status="empirical")
_GOOD = "rewards (1, 1/2), π_ref(a) = exp(-1/(8β)), 1/β from 24 to 96"
_BOTH = "rewards (1, 1/2) and (0, 1/2), π_ref(a) = exp(-1/(8β)), nine policies"
CHECKS: tuple[Check, ...] = (
    _row(
        "dpo.hitting_time_exponent",
        "the log of online DPO's hitting time of a gap below 1/8 grows in 1/β with slope 1/8, within a tenth",
        f"{_GOOD}; 25 % quantile, simulated exactly, for two policies and for nine",
        _exponent,
        source=PROPOSITION,
        status="derived",
    ),
    _row(
        "dpo.survival",
        "with probability at least 1/4 no iterate of the first exp(1/(8β))/2 has a gap below 1/8",
        f"{_GOOD}; simulated exactly, ties to the reference",
        _survival,
        source=PROPOSITION,
        status="theorem",
    ),
    _row(
        "dpo.simulation",
        "hitting times of the library's online DPO have the distribution of the exact simulation",
        "Kolmogorov-Smirnov distance over its quantile of 1e-4; 200 runs a β",
        _agreement,
        source="derived",
        status="derived",
    ),
    _row(
        "dpo.frozen_share",
        "online DPO never finds the better response with probability 1 - σ(1/2): the first label decides",
        "nine policies, 1/β from 24 to 40, 1,600 comparisons; within four standard errors",
        _frozen,
        source="derived",
        status="derived",
    ),
    _row(
        "xpo.regret_exponent",
        "XPO's mean regret falls like T^-c, c >= 0.4, at every β",
        f"{_BOTH}, α = 0.6 β/√T, 1/β in (60, 200, 800)",
        _regret_exponent,
        source=f"{PAPER}, Theorem 3.1 (there 1/2 up to logarithms)",
        kind="scaling",
    ),
    _row(
        "xpo.regret_free_of_beta",
        "XPO's mean regret is the same at every β, within a factor of 1.5",
        f"{_BOTH}, α = 0.6 β/√T, 1/β in (60, 200, 800), common draws",
        _regret_levels,
        source=f"{PAPER}, Theorem 3.1",
        kind="scaling",
    ),
    _row(
        "xpo.flipped_sign",
        "with the sign of the optimism flipped no seed ever finds the better response",
        "rewards (1, 1/2), 1/β = 100, |α| = 0.03 β, 1,600 comparisons; share of the seeds that do",
        _flipped,
    ),
    _row(
        "xpo.optimism_sweep",
        "the best optimism lies inside: a tenth and ten times of it cost at least half as much again",
        f"{_BOTH}, 1/β = 200, α/β from 1e-3 to 1e-1, 1,600 comparisons",
        _sweep,
        kind="scaling",
    ),
    _row(
        "xpo.ablation",
        "draws of the reference and the bonus together solve the good and the bad rare response; either "
        "alone, or neither, does not",
        f"{_BOTH}, 1/β = 60, 400 comparisons; median gap of the last 50 over 1/8, the worse instance",
        _ablation,
    ),
    _row(
        "xpo.ablation_parts",
        "the bonus alone decides whether the good response is found; the bad one is kept only with on-policy "
        "pairs and a bonus together",
        f"{_BOTH}, 1/β = 60, 400 comparisons; cells of eight that differ",
        _ablation_parts,
    ),
)
