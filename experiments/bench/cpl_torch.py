"""The peer of ``nlhf bench cpl``: the same update as one writes it in PyTorch, eager, on all cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nlhf.errors import InputError


class Problem(NamedTuple):
    """What both sides train on, and with what."""

    states: np.ndarray  # ``[2, M, T, D]`` float32, first and second segments
    actions: np.ndarray  # ``[2, M, T, K]`` float32
    prefer_first: np.ndarray  # ``[M]`` float32, 0 or 1
    weights: tuple[np.ndarray, ...]  # of the first network, ``[inputs, outputs]`` each
    dropout: float  # in [0, 1)
    batch: int
    temperature: float  # α
    bias: float  # λ
    learning_rate: float


def load(threads: int) -> Any:
    """Return torch, set to a number of threads.

    Raises:
      InputError: if it is not installed; it is no dependency.
    """
    try:
        import torch
    except ImportError:
        raise InputError(
            "bench cpl times a PyTorch loop, and torch is not installed; install torch, a CPU build is enough"
        ) from None
    torch.set_num_threads(threads)
    return torch


def make_actor(torch: Any, problem: Problem) -> Any:
    """Return the network: affine layers, ReLU and dropout between them, tanh at the end."""
    layers: list[Any] = []
    for index, weight in enumerate(problem.weights):
        affine = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            affine.weight.copy_(torch.from_numpy(weight.T.copy()))
            affine.bias.zero_()
        layers.append(affine)
        if index < len(problem.weights) - 1:
            layers.append(torch.nn.ReLU())
            if problem.dropout:
                layers.append(torch.nn.Dropout(problem.dropout))
    return torch.nn.Sequential(*layers, torch.nn.Tanh())


def loss_of(torch: Any, actor: Any, problem: Problem, states: Any, actions: Any, label: Any) -> Any:
    """Return the mean CPL loss of a batch: one pass over both segments, scores summed over time.

    Args:
      states: ``[2, B, T, D]``.
      actions: ``[2, B, T, K]``.
      label: ``[B]``.
    """
    score = -((actor(states) - actions) ** 2).sum(-1).sum(-1)
    first, second = score[0], score[1]
    softplus = torch.nn.functional.softplus
    first_wins = softplus(problem.temperature * (problem.bias * second - first))
    second_wins = softplus(problem.temperature * (problem.bias * first - second))
    return (label * first_wins + (1 - label) * second_wins).mean()


def trainer(torch: Any, problem: Problem) -> Callable[[int], float]:
    """Return a function that makes a number of updates on minibatches and returns the last loss."""
    actor = make_actor(torch, problem)
    optimiser = torch.optim.Adam(actor.parameters(), lr=problem.learning_rate)
    states, actions, labels = (
        torch.from_numpy(array) for array in (problem.states, problem.actions, problem.prefer_first)
    )

    def train(num_updates: int) -> float:
        for _ in range(num_updates):
            rows = torch.randint(0, len(labels), (problem.batch,))
            loss = loss_of(torch, actor, problem, states[:, rows], actions[:, rows], labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return float(loss.detach())

    return train


def gradient(torch: Any, problem: Problem, rows: Any) -> list[np.ndarray]:
    """Return the gradients of the weights (``[inputs, outputs]``) of one batch, for a comparison.

    Args:
      problem: what to train on; without dropout, or they are random.
      rows: indices of the batch.
    """
    actor = make_actor(torch, problem)
    states, actions = torch.from_numpy(problem.states[:, rows]), torch.from_numpy(problem.actions[:, rows])
    label = torch.from_numpy(problem.prefer_first[rows])
    loss_of(torch, actor, problem, states, actions, label).backward()
    return [layer.weight.grad.numpy().T for layer in actor if isinstance(layer, torch.nn.Linear)]
