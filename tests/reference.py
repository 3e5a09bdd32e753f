"""One step of every algorithm, transcribed in numpy from the formulas of its paper.

Nothing here uses the library or JAX. Policies are probabilities ``[A]`` of one context, payoffs are
``P @ policy`` with P not centred, and every update is written multiplicatively, as the papers print it.
Each ``<algorithm>(policy, reference, preference, num_steps, **hyper)`` returns the iterates
``[num_steps + 1, A]``, the start first.
"""

from __future__ import annotations

import numpy as np


def softmax(logits):
    """Probabilities proportional to exp(logits), over the last axis."""
    weights = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def tilt(policy, reference, payoff, keep, pull, gain):
    """``policy^keep reference^pull exp(gain payoff)``, normalised."""
    return softmax(keep * np.log(policy) + pull * np.log(reference) + gain * payoff)


def mirror(policy, reference, payoff, step_size, beta):
    """Explicit mirror step: argmax_u η <payoff, u> - ηβ KL(u, reference) - (1 - ηβ) KL(u, policy)."""
    return tilt(policy, reference, payoff, 1 - step_size * beta, step_size * beta, step_size)


def prox(centre, reference, payoff, step_size, beta):
    """Composite step: argmax_u <payoff, u> - β KL(u, reference) - (1/g) KL(u, centre)."""
    total = beta + 1 / step_size
    return tilt(centre, reference, payoff, 1 / step_size / total, beta / total, 1 / total)


def iterate(step, policy, num_steps):
    """Policies visited by ``policy = step(policy)``."""
    policies = [policy]
    for _ in range(num_steps):
        policies.append(step(policies[-1]))
    return np.stack(policies)


def online_mirror_descent(policy, reference, preference, num_steps, *, step_size, beta):
    """Self-play: each step answers the current policy."""
    return iterate(lambda p: mirror(p, reference, preference @ p, step_size, beta), policy, num_steps)


def nash_md(policy, reference, preference, num_steps, *, step_size, beta):
    """Step from and against the mixture π^(1 - ητ) μ^(ητ); ``None`` is the step 2/(τ (t + 2)), t from 0."""
    policies = [policy]
    for count in range(num_steps):
        eta = 2 / (beta * (count + 2)) if step_size is None else step_size
        mixture = tilt(policies[-1], reference, 0.0, 1 - eta * beta, eta * beta, 0.0)
        policies.append(tilt(mixture, reference, preference @ mixture, 1.0, 0.0, eta))
    return np.stack(policies)


def nash_mirror_prox(policy, reference, preference, num_steps, *, step_size, beta):
    """Two proximal steps with the centre at the last iterate."""

    def step(centre):
        half = prox(centre, reference, preference @ centre, step_size, beta)
        return prox(centre, reference, preference @ half, step_size, beta)

    return iterate(step, policy, num_steps)


def nash_prox(policy, reference, preference, num_steps, *, step_size, beta, num_inner):
    """Proximal point: the inner game has weight β to the reference and β/η to the centre."""

    def outer(centre):
        to_reference, to_centre = beta, beta / step_size
        total = to_reference + to_centre
        inner_step = 4 * total / (1 + 4 * total**2)
        play = centre
        for _ in range(num_inner):
            logits = (
                (1 - inner_step * total) * np.log(play)
                + inner_step * to_reference * np.log(reference)
                + inner_step * to_centre * np.log(centre)
                + inner_step * (preference @ play)
            )
            play = softmax(logits)
        return play

    return iterate(outer, policy, num_steps)


def egpo(policy, reference, preference, num_steps, *, step_size, beta):
    """Extragradient: an explicit half step, then a step from the same policy against it."""

    def step(anchor):
        half = mirror(anchor, reference, preference @ anchor, step_size, beta)
        return mirror(anchor, reference, preference @ half, step_size, beta)

    return iterate(step, policy, num_steps)


def omwu(policy, reference, preference, num_steps, *, step_size, beta):
    """Optimistic multiplicative weights with the initial query at the start.

    ``half_t`` answers ``half_{t-1}`` (``half_{-1}`` is the start) and ``policy_{t+1}`` answers ``half_t``,
    both from ``policy_t``. The first query makes no policy, so the start stands twice in the result.
    """
    policies, answer = [policy, policy], preference @ policy
    for _ in range(num_steps - 1):
        half = mirror(policies[-1], reference, answer, step_size, beta)
        answer = preference @ half
        policies.append(mirror(policies[-1], reference, answer, step_size, beta))
    return np.stack(policies)


def omwu_classical(policy, preference, num_steps, *, step_size):
    """Unregularised: π_{t+1} proportional to π_t exp(2η P q_t - η P q_{t-1}), q_t the policy played.

    Returns the played policies q_0, q_1, ... with q_{-1} = q_0 = the start.
    """
    played, before, logits = [policy], preference @ policy, np.log(policy)
    for _ in range(num_steps):
        answer = preference @ played[-1]
        logits = logits + 2 * step_size * answer - step_size * before
        before = answer
        played.append(softmax(logits))
    return np.stack(played)


def mpo(policy, reference, preference, num_steps, *, step_size, beta, period):
    """Magnetic mirror descent; after every ``period`` steps the magnet moves to the policy."""
    del reference
    policies, magnet = [policy], policy
    for count in range(num_steps):
        policies.append(prox(policies[-1], magnet, preference @ policies[-1], step_size, beta))
        if (count + 1) % period == 0:
            magnet = policies[-1]
    return np.stack(policies)


def ipo_md(policy, reference, preference, num_steps, *, step_size, beta, mixture):
    """Step from the policy, against the mixture π^(1 - mixture) μ^mixture."""

    def step(anchor):
        opponent = tilt(anchor, reference, 0.0, 1 - mixture, mixture, 0.0)
        return mirror(anchor, reference, preference @ opponent, step_size, beta)

    return iterate(step, policy, num_steps)


def best_response(policy, reference, preference, beta):
    """``μ exp(P π / β)``, normalised."""
    return softmax(np.log(reference) + preference @ policy / beta)


def kl(policy, other):
    """``Σ p log(p/q)``, 0 log 0 = 0."""
    positive = policy > 0
    return float(np.sum(policy[positive] * np.log(policy[positive] / other[positive])))


def regularised_nash(preference, reference, beta):
    """The fixed point ``π = softmax(log μ + P π / β)`` by damped Newton, beta halved from 4 to its target."""
    advantage, log_ref = preference - 0.5, np.log(reference)
    logits = log_ref
    for stage in [4 * 0.5**k for k in range(60) if 4 * 0.5**k > beta] + [beta]:
        gap = _gap(logits, log_ref, advantage, stage)
        for _ in range(200):
            policy = softmax(logits)
            jacobian = np.eye(len(policy)) - advantage @ (np.diag(policy) - np.outer(policy, policy)) / stage
            direction = np.linalg.solve(jacobian, -gap)
            trials = [logits + 0.5**k * direction for k in range(30)]
            gaps = [_gap(trial, log_ref, advantage, stage) for trial in trials]
            best = int(np.argmin([np.abs(g).max() for g in gaps]))
            if np.abs(gaps[best]).max() >= np.abs(gap).max():
                break
            logits, gap = trials[best], gaps[best]
    return softmax(logits)


def _gap(logits, log_ref, advantage, beta):
    gap = logits - log_ref - advantage @ softmax(logits) / beta
    return gap - gap.mean()
