"""The methods of ``story-judges``, and the numbers each is made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nlhf import dpo, egpo, nash_md, nash_mirror_prox, vpo, xpo
from nlhf.base import Algorithm
from nlhf.replay import buffer
from nlhf.transformer.responses import Responses


class Numbers(NamedTuple):
    """What an algorithm is made from; ``total`` is the number of labels of a whole run."""

    step_size: float
    beta: float
    total: int
    response: Responses


class Method(NamedTuple):
    """One line of the figure: its algorithm, and payoff queries a step (0: it asks for labels)."""

    make: Callable[[Numbers], Algorithm]
    queries: int


def _xpo(numbers: Numbers, optimism: float) -> Algorithm:
    return xpo(optimism, numbers.beta, buffer(numbers.total, response=numbers.response))


METHODS: dict[str, Method] = {
    "egpo": Method(lambda n: egpo(n.step_size, n.beta), 2),
    "nash_mirror_prox": Method(lambda n: nash_mirror_prox(n.step_size, n.beta), 2),
    "nash_md": Method(lambda n: nash_md(n.step_size, n.beta), 1),
    # α = β/√T a comparison, T in all (order of arXiv:2405.21046, Theorem 3.1)
    "xpo": Method(lambda n: _xpo(n, n.beta / n.total**0.5), 0),
    "xpo_plain": Method(lambda n: _xpo(n, 0.0), 0),
    # of the order √T; but α = √T itself runs away here: nothing holds log π of the reference's responses up
    "vpo": Method(lambda n: vpo(n.beta * n.total**0.5, n.beta, buffer(n.total, response=n.response)), 0),
    "dpo": Method(lambda n: dpo(n.beta, 0.0, buffer(n.total, response=n.response)), 0),
}
