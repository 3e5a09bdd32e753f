"""What exploration costs: online DPO waits exp(1/(8β)) comparisons where XPO's regret knows no β.

Hitting times and regret are measured on the two instances of ``rare``, over a class of nine policies with an
exact argmin; the regret bound on random bandits of three responses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import ks_2samp

from proofs_checks.learners import rare
from proofs_checks.learners.rare import SOLVED, WAITING, dpo_runs, hitting, jump, regret_runs, xpo_runs
from proofs_checks.learners.xpo_lemmas import PAPER, RARE
from proofs_checks.rows import Check, Effort, Outcome

PROPOSITION = f"{PAPER}, Proposition 2.1"
CAP = 1e12  # simulated hitting times end here


# Online DPO waits


def _slope(times: list[np.ndarray]) -> float:
    """Slope in 1/β of the logarithm of the 25 % quantile."""
    return float(np.polyfit(WAITING, np.log([np.quantile(each, 0.25) for each in times]), 1)[0])


def _xpo_times(effort: Effort) -> list[np.ndarray]:
    return [hitting(each) for each in xpo_runs(effort)["waiting"][0, :, 0]]


def _exponent(effort: Effort) -> Outcome:
    rng, seeds = effort.rng("exponent"), effort.pick(2000, 10000)
    slopes = {
        name: _slope([jump(rng, inverse, seeds, CAP, name) for inverse in WAITING])
        for name in ("paper", "grid")
    }
    wrong = _slope(_xpo_times(effort))
    worst = max(abs(slope / RARE - 1) for slope in slopes.values())
    return Outcome(
        2 * seeds * len(WAITING),
        worst / 0.1,
        "XPO in its place",
        abs(wrong / RARE - 1) / 0.1,
        witness={"inverse_beta": WAITING.tolist()},
        detail={f"slope, {name} class": slope for name, slope in slopes.items()} | {"slope of XPO": wrong},
    )


def _survival(effort: Effort) -> Outcome:
    rng, seeds = effort.rng("survival"), effort.pick(2000, 10000)
    end = 0.5 * np.exp(RARE * WAITING)

    def least(times: list[np.ndarray]) -> float:
        return min(float((each > stop).mean()) for each, stop in zip(times, end, strict=True))

    share = min(
        least([jump(rng, inverse, seeds, CAP, name) for inverse in WAITING]) for name in ("paper", "grid")
    )
    # at the small 1/β the promise is a handful of comparisons, within which nothing is found
    other = least(_xpo_times(effort))
    return Outcome(
        2 * seeds * len(WAITING),
        0.25 / share,
        "XPO in its place",
        0.25 / max(other, 1e-6),
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

    right, wrong = distance(2.0), distance(1.0)
    return Outcome(
        runs.shape[0] * runs.shape[1],
        float(right.max()),
        "pairs drawn in one order only",
        float(wrong.max()),
        witness={"inverse_beta": float(WAITING[int(right.argmax())])},
    )


def _frozen(effort: Effort) -> Outcome:
    """Share of runs that are not solved after twenty times the mean wait, against 1 - σ(1/2)."""
    exact = 1 - expit(0.5)
    runs = dpo_runs(effort)["waiting"][0, :3, 0]
    unsolved = (runs >= SOLVED).all(-1)
    other = (xpo_runs(effort)["waiting"][0, :3, 0] >= SOLVED).all(-1)

    def error(found: Any) -> float:
        return float(abs(found.mean() - exact) / (4 * np.sqrt(exact * (1 - exact) / found.size)))

    return Outcome(
        unsolved.size,
        error(unsolved),
        "XPO in its place",
        error(other),
        detail={
            "share": float(unsolved.mean()),
            "predicted": float(exact),
            "share of XPO": float(other.mean()),
        },
    )


# XPO's regret


def regret(gaps: np.ndarray, horizon: np.ndarray) -> np.ndarray:
    """``[3, B]`` mean regret over the first T comparisons, both instances and all seeds.

    Args:
      gaps: ``[3 or 1, B, 2, S, steps + 1]`` by horizon (or the same for all) and 1/β.
      horizon: ``[3]`` T.
    """
    rows = np.broadcast_to(np.arange(len(gaps)), 3) if len(gaps) == 1 else np.arange(3)
    return np.array(
        [gaps[row, ..., :stop].mean((-1, -2, -3)) for row, stop in zip(rows, horizon, strict=True)]
    )


def exponent(level: np.ndarray, horizon: np.ndarray) -> np.ndarray:
    """``[B]`` rate c of ``regret ~ T^-c``."""
    return -np.polyfit(np.log(horizon), np.log(level), 1)[0]


def _regret_exponent(effort: Effort) -> Outcome:
    horizon, runs = rare.HORIZONS, regret_runs(effort)
    rate = exponent(regret(runs["right"], horizon), horizon)
    none, flipped = (exponent(regret(runs["wrong"][which], horizon), horizon) for which in ([0], [1]))
    wrong = max(float(none.max()), float(flipped.max()))
    return Outcome(
        runs["right"][..., 0].size,
        0.4 / float(rate.min()),
        "no optimism; the flipped sign",
        0.4 / max(wrong, 1e-3),
        witness={"inverse_beta": float(rare.INVERSE_BETAS[int(rate.argmin())])},
        detail={f"exponent at 1/β = {b:g}": float(c) for b, c in zip(rare.INVERSE_BETAS, rate, strict=True)}
        | {"without optimism, largest": float(none.max()), "flipped, largest": float(flipped.max())},
    )


def _regret_levels(effort: Effort) -> Outcome:
    level = regret(regret_runs(effort)["right"], rare.HORIZONS)[-1]
    waiting = dpo_runs(effort)["regret"]
    # online DPO is run no longer than this; it would still be waiting
    stop = min(int(rare.HORIZONS[-1]), waiting.shape[-1] - 1)
    other = waiting[0, ..., :stop].mean((-1, -2, -3))
    return Outcome(
        regret_runs(effort)["right"][-1, ..., 0].size,
        float(level.max() / level.min()),
        "online DPO against XPO's smallest",
        float(other.max() / level.min()),
        1.5,
        detail={f"regret at 1/β = {b:g}": float(c) for b, c in zip(rare.INVERSE_BETAS, level, strict=True)}
        | {f"of online DPO at 1/β = {b:g}": float(c) for b, c in zip(rare.INVERSE_BETAS, other, strict=True)},
    )


def _flipped(effort: Effort) -> Outcome:
    """Share of seeds that ever have a solved iterate."""
    gaps = xpo_runs(effort)["sign"][:, 0, 0, :, : rare.SIGN[1] + 1]
    right, flipped = (gaps < SOLVED).any(-1).mean(-1)
    return Outcome(
        gaps.shape[1], float(flipped), "the right sign (share of seeds that solve it)", float(right), 0.0
    )


def _sweep(effort: Effort) -> Outcome:
    """Regret of the best scale over that of the better of the two ends, times 1.5."""
    stop = rare.SHORT

    def curve(gaps: np.ndarray) -> np.ndarray:
        return gaps[:, 0, :, :, :stop].mean((-1, -2, -3))

    runs = xpo_runs(effort)
    level = curve(runs["sweep"])
    # without optimism and with the flipped sign the scale does not matter
    flat = curve(runs["flat"])
    return Outcome(
        runs["sweep"][..., 0].size,
        1.5 * float(level.min() / min(level[0], level[-1])),
        "no optimism against the flipped sign",
        1.5 * float(flat.min() / flat.max()),
        witness={"inverse_beta": 200.0, "comparisons": stop},
        detail={f"regret at α/β = {s:g}": float(c) for s, c in zip(rare.SCALES, level, strict=True)},
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
    return Outcome(
        160,
        float(worse[-1]),
        "without the bonus, without the reference's draw, without both (the best of the three)",
        float(worse[:-1].min()),
        1.0,
        {"inverse_beta": rare.ABLATION[0], "comparisons": rare.ABLATION[1]},
        {
            f"{kind} arm, {cell}": float(table[row, column])
            for row, cell in enumerate(CELLS)
            for column, kind in enumerate(("good", "bad"))
        },
    )


def _ablation_parts(effort: Effort) -> Outcome:
    """Cells whose verdict is not the predicted one; the control predicts that the sampler does not matter."""
    solved = ablation(effort) < SOLVED
    predicted = np.array([[False, True], [True, False], [False, True], [True, True]])
    sampler_blind = np.array([[False, True], [True, True], [False, True], [True, True]])
    bonus_blind = np.array([[False, True], [False, True], [True, True], [True, True]])
    return Outcome(
        8,
        float((solved != predicted).sum()),
        "only the bonus matters; only the sampler matters",
        float(min((solved != each).sum() for each in (sampler_blind, bonus_blind))),
        0.0,
    )


def row(
    name: str,
    kind: str,
    statement: str,
    assumptions: str,
    judge: Callable[[Effort], Outcome],
    source: str = "measured here",
    status: str = "empirical",
) -> Check:
    """A row of this module; what has no source was measured here."""
    return Check(name, name.split(".")[0], kind, source, status, statement, assumptions, judge)


_GOOD = "rewards (1, 1/2), π_ref(a) = exp(-1/(8β)), 1/β from 24 to 96"
_BOTH = "rewards (1, 1/2) and (0, 1/2), π_ref(a) = exp(-1/(8β)), nine policies"
CHECKS: tuple[Check, ...] = (
    row(
        "dpo.hitting_time_exponent",
        "separation",
        "the log of online DPO's hitting time of a gap below 1/8 grows in 1/β with slope 1/8, within a tenth",
        f"{_GOOD}; 25 % quantile, simulated exactly, for two policies and for nine",
        _exponent,
        PROPOSITION,
        "derived",
    ),
    row(
        "dpo.survival",
        "separation",
        "with probability at least 1/4 no iterate of the first exp(1/(8β))/2 has a gap below 1/8",
        f"{_GOOD}; simulated exactly, ties to the reference",
        _survival,
        PROPOSITION,
        "theorem",
    ),
    row(
        "dpo.simulation",
        "separation",
        "hitting times of the library's online DPO have the distribution of the exact simulation",
        "Kolmogorov-Smirnov distance over its quantile of 1e-4; 200 runs a β",
        _agreement,
        "derived",
        "derived",
    ),
    row(
        "dpo.frozen_share",
        "separation",
        "online DPO never finds the better response with probability 1 - σ(1/2): the first label decides",
        "nine policies, 1/β from 24 to 40, 1,600 comparisons; within four standard errors",
        _frozen,
        "derived",
        "derived",
    ),
    row(
        "xpo.regret_exponent",
        "scaling",
        "XPO's mean regret falls like T^-c, c >= 0.4, at every β",
        f"{_BOTH}, α = 0.6 β/√T, 1/β in (60, 200, 800)",
        _regret_exponent,
        f"{PAPER}, Theorem 3.1 (there 1/2 up to logarithms)",
    ),
    row(
        "xpo.regret_free_of_beta",
        "scaling",
        "XPO's mean regret is the same at every β, within a factor of 1.5",
        f"{_BOTH}, α = 0.6 β/√T, 1/β in (60, 200, 800), common draws",
        _regret_levels,
        f"{PAPER}, Theorem 3.1",
    ),
    row(
        "xpo.flipped_sign",
        "separation",
        "with the sign of the optimism flipped no seed ever finds the better response",
        "rewards (1, 1/2), 1/β = 100, |α| = 0.03 β, 1,600 comparisons; share of the seeds that do",
        _flipped,
    ),
    row(
        "xpo.optimism_sweep",
        "scaling",
        "the best optimism lies inside: a tenth and ten times of it cost at least half as much again",
        f"{_BOTH}, 1/β = 200, α/β from 1e-3 to 1e-1, 1,600 comparisons",
        _sweep,
    ),
    row(
        "xpo.ablation",
        "separation",
        "draws of the reference and the bonus together solve the good and the bad rare response; either "
        "alone, or neither, does not",
        f"{_BOTH}, 1/β = 60, 400 comparisons; median gap of the last 50 over 1/8, the worse instance",
        _ablation,
    ),
    row(
        "xpo.ablation_parts",
        "separation",
        "the bonus alone decides whether the good response is found; the bad one is kept only with on-policy "
        "pairs and a bonus together",
        f"{_BOTH}, 1/β = 60, 400 comparisons; cells of eight that differ",
        _ablation_parts,
    ),
)
