"""Fit CPL and its baseline to many data sets, and measure how far the fits are from the optimum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import scipy.special

from experiments.figures.shared.segment_fits import fit_many, in_chunks
from nlhf.base import Comparisons
from nlhf.segments import Segments
from tabular.mdps.mdp import MDP
from tabular.mdps.metrics import log_policy_rmse, soft_value_gap
from tabular.mdps.segment_space import segment_features
from tabular.mdps.values import soft_values

Array = jax.Array
WIDTH = 32  # of a chunk


def fit(make: Callable, settings: dict[str, Any], mdps: MDP, sets: list[Comparisons]) -> np.ndarray:
    """Fit L data sets of each of N runs: ``[L, N, S, A]``; settings are numbers or ``[L]``."""
    runs = len(sets[0].weight)
    everything = jax.tree.map(lambda *leaves: np.concatenate(leaves), *sets)
    hyper = {name: np.repeat(np.broadcast_to(value, (len(sets),)), runs) for name, value in settings.items()}
    fitted = fit_many(make, hyper, _repeated(mdps, len(sets)), everything)
    return fitted.reshape(len(sets), runs, *fitted.shape[1:])


def _repeated(mdps: MDP, times: int) -> MDP:
    return jax.tree.map(lambda leaf: np.concatenate([np.asarray(leaf)] * times), mdps)


@jax.jit
@jax.vmap
def _gaps(mdp: MDP, log_policy: Array) -> tuple[Array, Array]:
    """RMSE of log π and soft-value loss."""
    unused = log_policy
    return log_policy_rmse(mdp, log_policy, unused, unused), soft_value_gap(mdp, log_policy, unused, unused)


def _measured(mdps: MDP, policies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both for policies ``[L, N, S, A]``, ``[L, N]`` each."""
    flat = policies.reshape(-1, *policies.shape[2:])
    error, lost = in_chunks(_gaps, (_repeated(mdps, len(policies)), flat), WIDTH)
    return error.reshape(policies.shape[:2]), lost.reshape(policies.shape[:2])


def rmse(mdps: MDP, policies: np.ndarray) -> np.ndarray:
    """RMSE of log π, ``[L, N]`` for policies ``[L, N, S, A]``."""
    return _measured(mdps, policies)[0]


def loss(mdps: MDP, policies: np.ndarray) -> np.ndarray:
    """Soft-value loss, ``[L, N]`` for policies ``[L, N, S, A]``."""
    return _measured(mdps, policies)[1]


def relative_loss(mdps: MDP, policies: np.ndarray) -> np.ndarray:
    """Soft-value loss in units of the uniform policy's."""
    uniform = np.full_like(policies[:1], -np.log(policies.shape[-1]))
    losses = loss(mdps, np.concatenate([policies, uniform]))
    return losses[:-1] / losses[-1]


def myopic(mdps: MDP) -> np.ndarray:
    """``exp(r/α)``, normalised: the optimum where nothing follows."""
    logits = np.asarray(mdps.reward) / np.asarray(mdps.beta)[:, None, None]
    return logits - scipy.special.logsumexp(logits, axis=-1, keepdims=True)


@jax.jit
@jax.vmap
def design_matrix(mdp: MDP, first: Segments, second: Segments) -> Array:
    """``[N, R, S A]`` discounted visits of the first segments less those of the second."""
    return segment_features(mdp, first) - segment_features(mdp, second)


@jax.jit
@jax.vmap
def optimum(mdp: MDP) -> Array:
    """``[N, S, A]`` log π*."""
    return soft_values(mdp).log_policy
