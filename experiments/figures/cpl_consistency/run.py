"""Figure ``cpl-consistency``: what CPL learns from n labelled segments, and what its label model assumes.

Expected: with regret labels the RMSE of log π falls as n^-1/2 and the soft-value loss as n^-1. With labels by
partial return, and for behaviour cloning, it stops at the distance of another policy: on pairs of actions in
one state that is the myopic policy exp(r/α), whose loss is nothing at discount 0 and grows with the discount.
On few data λ < 1 takes mass from unseen actions, the more the smaller λ is, though the value gains little; on
many it costs a bias that does not go away, where λ = 1 converges. n comparisons leave SA - n
directions of log π flat, of which normalisation pins S: with exact labels the policy is found from about
n = S (A - 1) comparisons on.

The estimates are those of ``nlhf.algorithms.cpl`` and ``behaviour_cloning`` in ``segment_space``, from the
uniform start. Each run has its own random MDP and its own pairs of segments, uniform behaviour; n labels
beyond the number of pairs are spread over the pairs evenly. Where data are few the fit runs off to the
boundary, and what is shown is where L-BFGS stops.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.figures.cpl_consistency.config import Config
from experiments.figures.cpl_consistency.config import quick as quick
from experiments.figures.cpl_consistency.data import LENGTH, Data, draw, labelled, random_mdps, unseen_mass
from experiments.figures.cpl_consistency.fits import (
    design_matrix,
    fit,
    loss,
    myopic,
    optimum,
    relative_loss,
    rmse,
)
from experiments.figures.shared.curves import (
    Announce,
    Brief,
    Curve,
    Interval,
    announced,
    bootstrap,
    check_seeds,
    quantiles,
)
from nlhf.algorithms.behaviour_cloning import behaviour_cloning
from nlhf.algorithms.cpl import cpl
from nlhf.base import Comparisons, check_number, check_whole
from tabular.mdps.mdp import MDP

FEW = 8  # labels of the sweep over λ


@dataclasses.dataclass(frozen=True, repr=False)
class Line(Curve):
    """Median over runs, 10 and 90 % quantiles; in the panel ``unseen`` the mean with its 95 % interval."""

    # median over runs of the value with exact labels (n without end), where it was computed
    limit: float | None = None


@dataclasses.dataclass(frozen=True)
class Rate:
    """An exponent of n, fitted to each run over n >= ``pairs``; the mean over runs with its interval."""

    panel: str
    name: str
    exponent: Interval


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Brief):
    """Everything the figure and the table are drawn from."""

    config: Config
    # lines by panel: ``segments`` and ``actions`` (RMSE of log π over n, for segments of 3 steps and for
    # pairs of actions in one state), ``loss`` (soft-value loss over n), ``unseen`` (mass on unseen actions
    # over λ), ``bias`` (soft-value loss over n by λ, in units of the uniform policy's), ``discount``
    # (likewise over discounts), ``null`` (flat directions over n), ``exact`` (RMSE over n)
    panels: dict[str, list[Line]]
    rates: list[Rate]
    # largest difference between log π of CPL on exact partial-return labels of pairs of actions and the
    # myopic policy exp(r/α)
    myopic_distance: float


@announced
def run(config: Config, progress: Announce) -> Result:
    """Fit every data set.

    Raises:
      InputError: on a setting out of its range.
    """
    _check(config)
    parts = (
        ("segments of 3 steps", _segments),
        ("pairs of actions", _actions),
        ("conservative weight", _conservative),
        ("discounts", _discounts),
        ("flat directions", _flat),
    )
    panels: dict[str, list[Line]] = {}
    rates: list[Rate] = []
    myopic_distance = 0.0
    mdps = random_mdps(config)
    for what, part in parts:
        progress(what, len(parts))
        curves, exponents, distance = part(config, mdps)
        panels |= curves
        rates += exponents
        myopic_distance = max(myopic_distance, distance)
    return Result(config, panels, rates, myopic_distance)


def _check(config: Config) -> None:
    check_seeds(config.seeds)
    for name, low in (("mdps", 1), ("num_states", 2), ("num_actions", 2), ("pairs", 64), ("doublings", 1)):
        check_whole(name, getattr(config, name), low=low)
    check_number("temperature", config.temperature, open_low=True)
    check_number("discount", np.asarray((config.discount, *config.discounts)), high=1 - 1e-12, open_low=True)
    check_number("biases", np.asarray(config.biases), high=1.0, open_low=True)


Part = tuple[dict[str, list[Line]], list[Rate], float]


def _segments(config: Config, mdps: MDP) -> Part:
    """Segments of 3 steps that start anywhere: what falls and what does not, and what it costs."""
    data = draw(config, mdps, 1, LENGTH)
    levels = _levels(config)
    fits = {name: _over_labels(config, mdps, data, name, levels) for name in ("regret", "return", "cloning")}
    lost = loss(mdps, fits["regret"][:-1])
    exponent = _rate(config, "loss", "regret", levels, lost)
    curves, rates = _recovery(config, mdps, "segments", levels, fits)
    return {"segments": curves, "loss": [_curve("regret", levels, lost)]}, [*rates, exponent], 0.0


def _actions(config: Config, mdps: MDP) -> Part:
    """Pairs of actions in one state: partial return shows its rewards, and nothing that follows."""
    data = draw(config, mdps, 2, 1, same=True)
    levels = _levels(config)
    fits = {name: _over_labels(config, mdps, data, name, levels) for name in ("regret", "return", "cloning")}
    curves, rates = _recovery(config, mdps, "actions", levels, fits)
    away = np.abs(fits["return"][-1] - myopic(mdps))[:, : config.num_states].max()
    return {"actions": curves}, rates, float(away)


def _recovery(
    config: Config, mdps: MDP, panel: str, levels: list[int], fits: dict[str, np.ndarray]
) -> tuple[list[Line], list[Rate]]:
    curves, rates = [], []
    for name, policies in fits.items():
        errors = rmse(mdps, policies)
        curves.append(_curve(name, levels, errors[:-1], float(np.median(errors[-1]))))
        rates.append(_rate(config, panel, name, levels, errors[:-1]))
    return curves, rates


def _over_labels(config: Config, mdps: MDP, data: Data, name: str, levels: list[int]) -> np.ndarray:
    """Return ``[L + 1, N, S, A]``: a fit for each number of labels, and last with exact ones."""
    rule = "return" if name == "return" else "regret"
    sets = [labelled(data, rule, n) for n in levels] + [labelled(data, rule, None)]
    if name == "cloning":
        return fit(behaviour_cloning, {"preferred": 1.0}, mdps, sets)
    return fit(cpl, {"temperature": config.temperature, "bias": 1.0}, mdps, sets)


def _conservative(config: Config, mdps: MDP) -> Part:
    """One action against one of another state: the loser's mass may go to actions without data."""
    data = draw(config, mdps, 3, 1)
    few = labelled(data, "regret", FEW)
    levels = [n for n in _levels(config, FEW) if n == config.pairs or np.log2(n) % 2]
    shown = sorted({config.biases[0], 0.25, 0.5, 1.0} & set(config.biases))
    sets = [few] * len(config.biases) + [labelled(data, "regret", n) for n in levels] * len(shown)
    biases = np.concatenate([config.biases, np.repeat(shown, len(levels))])
    swept, rest = np.split(fit(cpl, _settings(config, biases), mdps, sets), [len(config.biases)])
    losses = relative_loss(mdps, rest).reshape(len(shown), len(levels), -1)
    curves = [_curve(f"{bias:g}", levels, rows) for bias, rows in zip(shown, losses, strict=True)]
    mass = _mean(config, unseen_mass(few, swept).T)
    unseen = Line("λ", list(config.biases), *(row.tolist() for row in mass))
    return {"unseen": [unseen], "bias": curves}, [], 0.0


def _settings(config: Config, biases: Any) -> dict[str, Any]:
    return {"temperature": config.temperature, "bias": np.asarray(biases)}


def _discounts(config: Config, mdps: MDP) -> Part:
    """Exact partial-return labels and sampled regret labels, over discounts: the loss of the wrong model."""
    several = [mdps._replace(discount=jnp.full_like(mdps.discount, value)) for value in config.discounts]
    most = config.pairs * 2**config.doublings
    sets: dict[str, list[Comparisons]] = {"actions": [], "segments": [], "regret": []}
    for world in several:
        pairs, longer = draw(config, world, 4, 1, same=True), draw(config, world, 5, LENGTH)
        sets["actions"].append(labelled(pairs, "return", None))
        sets["segments"].append(labelled(longer, "return", None))
        sets["regret"].append(labelled(longer, "regret", most))
    worlds = jax.tree.map(lambda *leaves: np.concatenate(leaves), *several)
    joined = [jax.tree.map(lambda *leaves: np.concatenate(leaves), *some) for some in sets.values()]
    policies = np.concatenate([fit(cpl, _settings(config, 1.0), worlds, joined), myopic(worlds)[None]])
    losses = relative_loss(worlds, policies).reshape(len(sets) + 1, len(several), -1)
    curves = [
        _curve(name, config.discounts, rows) for name, rows in zip((*sets, "myopic"), losses, strict=True)
    ]
    return {"discount": curves}, [], 0.0


def _flat(config: Config, mdps: MDP) -> Part:
    """Directions that n comparisons leave flat, of any table and of normalised ones; the error they leave."""
    data = draw(config, mdps, 6, LENGTH)
    states, actions = config.num_states, config.num_actions
    size, free = states * actions, states * (actions - 1)
    levels = sorted({1, 2, 4, 8, 12, 64, *range(free - 4, free + 13, 2)} & set(range(1, 65)))
    design = np.asarray(design_matrix(mdps, data.first, data.second))[..., :size]
    # what a change of the logits does to the log-policy at the optimum, where normalisation has its say
    best = np.exp(np.asarray(optimum(mdps)))[:, :states].reshape(-1, 1, size)
    same_state = np.kron(np.eye(states), np.ones((actions, actions)))
    tangent = design @ (np.eye(size) - same_state * best)
    curves = [
        _curve(name, levels, np.stack([total - np.linalg.matrix_rank(matrix[:, :n]) for n in levels]))
        for name, total, matrix in (("log-probabilities", size, design), ("policies", free, tangent))
    ]
    sets = [labelled(data, "regret", n, exact=True) for n in levels]
    errors = rmse(mdps, fit(cpl, _settings(config, 1.0), mdps, sets))
    return {"null": curves, "exact": [_curve("exact", levels, errors)]}, [], 0.0


def _levels(config: Config, first: int | None = None) -> list[int]:
    """Numbers of labels, doubling, from twice the pairs (or from ``first``) to the most."""
    levels = [config.pairs * 2**k for k in range(1, config.doublings + 1)]
    if first is None:
        return levels
    below = config.pairs
    while below >= first:
        levels.insert(0, below)
        below //= 2
    return levels


def _curve(name: str, x: Any, values: np.ndarray, limit: float | None = None) -> Line:
    middle, low, high = (each.tolist() for each in quantiles(values.T))
    return Line(name, [float(at) for at in x], middle, low, high, limit)


def _rate(config: Config, panel: str, name: str, levels: list[int], values: np.ndarray) -> Rate:
    """Slope of log value in log n of each run; the mean over runs with its bootstrap."""
    slopes = np.polyfit(np.log(levels), np.log(values), 1)[0]
    return Rate(panel, name, Interval(*(float(number) for number in _mean(config, slopes))))


def _mean(config: Config, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return bootstrap(values, seed=[config.seed, len(values)], resamples=2000)
