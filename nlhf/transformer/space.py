"""Language models as a space of policies: a projection is k optimiser steps on contrasts of log-policies.

The target of a projection is a log-policy up to a constant a prompt; in the *contrast* of two responses to
one prompt the constant cancels, so the sampled responses are enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

from nlhf import losses
from nlhf.base import (
    Calibration,
    Comparisons,
    Feedback,
    Policy,
    PolicySpace,
    Target,
    check_whole,
)
from nlhf.comparisons import clean, rows_at
from nlhf.errors import InputError
from nlhf.functions import as_partial
from nlhf.policies import Mixture, Trained
from nlhf.transformer.descent import gradient, in_slices, move
from nlhf.transformer.model.lora import init_adapters
from nlhf.transformer.policy import REFERENCE, LanguageModel, sample, sequence_log_prob, token_log_prob
from nlhf.transformer.responses import Responses, check_responses, pair, readable

Array = jax.Array
FORMS = ("uniform", "on_policy")
MIXTURES = ("sequence", "token")


@jax.tree_util.register_static
class _Settings(NamedTuple):
    optimiser: optax.GradientTransformation
    num_updates: int
    rows: int | None
    fit_rows: int | None
    form: str
    mixture: str
    end: int | None


def transformer_space(
    model: LanguageModel,
    optimiser: optax.GradientTransformation,
    *,
    num_updates: int = 1,
    rows: int | None = None,
    fit_rows: int | None = None,
    form: str = "uniform",
    mixture: str = "sequence",
    end: int | None = None,
) -> PolicySpace:
    """Space of the policies of one language model.

    ``project(π, target, feedback)`` takes k steps on ``mean_x 2 Var_k[log π(y_k|x) - target_k]`` over the K
    responses in the feedback (``losses.contrast``); the target is computed once, from the policy given. At
    k = 1, with responses drawn from π, that step is the policy gradient with a baseline. ``fit`` takes k
    steps on ``Σ weight loss / Σ weight`` plus the calibration term over the same weight.

    What users get wrong: the oracle's responses should come from the policy that is projected, or the
    ``on_policy`` form be used, where the k-th step re-weights them by ``softmax_k(log π - log sampler)``.

    Args:
      optimiser: an optax transformation: schedule, clipping and all. Make it once: a new one compiles again.
      num_updates: k >= 1.
      rows: prompts (or comparisons) whose gradient is taken at a time, a divisor of the batch; ``None`` all.
      fit_rows: comparisons drawn for each update of a fit; ``None`` takes all that are remembered.
      form: ``uniform``: all pairs of responses count alike; ``on_policy``: each by the policy's probability.
      end: id of the token that ends a response, for the draws of a calibration term.

    Returns:
      A ``PolicySpace`` whose reference is the base; begin a run with ``start(...)``.

    Raises:
      InputError: if a setting is out of range; from ``project`` and ``fit``, if the policy to train is
        the reference, or ``rows`` does not divide the batch; from these and ``log_prob``, if responses are no
        language of the model. In a jitted step (or on the devices of several processes) only their shapes
        are seen; without, ids and padding too, those of comparisons without weight excepted.
    """
    if form not in FORMS:
        raise InputError(f"form is {form!r}, but it must be one of {', '.join(FORMS)}")
    if mixture not in MIXTURES:
        raise InputError(f"mixture is {mixture!r}, but it must be one of {', '.join(MIXTURES)}")
    for name, value in (("rows", rows), ("fit_rows", fit_rows)):
        if value is not None:
            check_whole(name, value)
    updates = check_whole("num_updates", num_updates)
    settings = _Settings(optimiser, updates, rows, fit_rows, form, mixture, end)
    return PolicySpace(
        reference=REFERENCE,
        log_prob=Partial(_log_prob, settings, model),
        mix=Partial(Mixture),
        project=Partial(_project, settings, model),
        fit=Partial(_fit, settings, model),
    )


def start(model: LanguageModel, optimiser: optax.GradientTransformation, key: Array | None = None) -> Trained:
    """Return the first policy of a run: the reference's own weights (or adapters of no effect) to be trained.

    Args:
      optimiser: of the space.
      key: of the adapters' first factors; needed with adapters only.

    Raises:
      InputError: if there are adapters but no key.
    """
    if model.lora is None:
        # a copy: a step may give its input's memory away, and the reference's is needed to the end
        parameters = jax.tree.map(jnp.copy, model.params)
    elif key is None:
        raise InputError("the adapters have no key; give start(..., key=jax.random.key(0)), say")
    else:
        parameters = init_adapters(key, model.params, model.lora)
    return Trained(parameters, optimiser.init(parameters))


# The three functions of the space check and then call a jitted one: inside of it nothing has values to check.


def _log_prob(
    settings: _Settings, model: LanguageModel, policy: Policy, responses: Responses | None = None
) -> Array:
    if responses is None:
        raise InputError("a language model has no table of all responses; give those to be judged")
    return _jitted_log_prob(settings, model, policy, _checked(model, responses, "BKR"))


def _project(
    settings: _Settings, model: LanguageModel, policy: Policy, target: Target, feedback: Feedback
) -> Trained:
    _checked(model, feedback.responses, "BKR")
    return _jitted_project(settings, model, policy, as_partial(target), feedback)


def _fit(
    settings: _Settings,
    model: LanguageModel,
    key: Array,
    policy: Policy,
    loss: Callable[..., Array],
    comparisons: Comparisons,
    calibration: Calibration | None = None,
) -> Trained:
    for side in (comparisons.first, comparisons.second):
        _check_side(model, side, comparisons.weight)
    return _jitted_fit(settings, model, key, policy, as_partial(loss), comparisons, calibration)


def _checked(model: LanguageModel, responses: Any, axes: str) -> Responses:
    if not isinstance(responses, Responses) or jnp.ndim(responses.tokens) != len(axes):
        kind = type(responses).__name__
        shape = list(responses.tokens.shape) if isinstance(responses, Responses) else ""
        raise InputError(
            f"the responses are {kind} {shape}, but this space takes Responses of [{', '.join(axes)}] tokens"
        )
    return check_responses(responses, model.config.vocabulary, model.config.context)


def _check_side(model: LanguageModel, side: Any, weight: Array) -> None:
    """Check one side of comparisons; a memory may hold anything where the weight is 0."""
    leaves = jax.tree.leaves(side)
    if readable(weight, *leaves):
        there = np.asarray(weight) > 0
        _checked(model, jax.tree.map(lambda leaf: np.asarray(leaf)[there], side), "NR")
    else:  # not even what can be read: it may have no weight
        jax.eval_shape(lambda traced: _checked(model, traced, "NR"), side)


@jax.jit
def _jitted_log_prob(
    settings: _Settings, model: LanguageModel, policy: Policy, responses: Responses
) -> Array:
    if settings.mixture == "token":
        return token_log_prob(model, policy, responses).sum(-1)
    return sequence_log_prob(model, policy, responses)


def _trained(policy: Policy) -> Trained:
    while isinstance(policy, Mixture):
        policy = policy.policy
    if not isinstance(policy, Trained) or policy.parameters is None:
        raise InputError(
            "the policy to train is the reference, which stays as it is; begin with transformer.start(...)"
        )
    return policy


def _anchor(
    settings: _Settings, model: LanguageModel, policy: Policy, responses: Responses, own: Array, ref: Array
) -> Array:
    """Log-probability of ``policy``, of which the trained part's (``own``) and the reference's are known."""
    if isinstance(policy, Trained):
        return own
    if settings.mixture == "token":
        return token_log_prob(model, policy, responses).sum(-1)
    other = policy.other
    known = isinstance(other, Trained) and other.parameters is None
    beside = ref if known else sequence_log_prob(model, other, responses)
    weight = jnp.asarray(policy.weight, own.dtype)
    return (1 - weight) * _anchor(settings, model, policy.policy, responses, own, ref) + weight * beside


@jax.jit
def _jitted_project(
    settings: _Settings, model: LanguageModel, policy: Policy, target: Target, feedback: Feedback
) -> Trained:
    responses = feedback.responses
    trained = _trained(policy)
    num = responses.tokens.shape[0]
    log_ref = in_slices(lambda part: sequence_log_prob(model, REFERENCE, part), responses, settings.rows)

    def log_prob(parameters: Any, part: Responses) -> Array:
        return token_log_prob(model, Trained(parameters, ()), part).sum(-1)

    def wanted(own: Array, part: Responses, ref: Array, preference: Array) -> Array:
        anchor = _anchor(settings, model, policy, part, own, ref)
        return target(anchor, ref, preference.astype(own.dtype))

    def contrast(own: Array, goal: Array, part: Responses) -> Array:
        share = None
        if settings.form == "on_policy":
            share = jax.nn.softmax(jax.lax.stop_gradient(own) - part.log_prob.astype(own.dtype), axis=-1)
        return losses.contrast(own, goal, share).sum() / num

    def step(trained: Trained, goal: Array) -> Trained:
        def objective(parameters: Any, part: tuple[Responses, Array]) -> Array:
            return contrast(log_prob(parameters, part[0]), part[1], part[0])

        grads = gradient(objective, trained.parameters, (responses, goal), settings.rows)
        return move(trained, grads, settings.optimiser)

    whole = settings.rows is None or settings.rows >= num
    if whole:  # the first step's own forward pass says what the target is

        def first(parameters: Any) -> tuple[Array, Array]:
            own = log_prob(parameters, responses)
            goal = wanted(jax.lax.stop_gradient(own), responses, log_ref, feedback.preference)
            return contrast(own, goal, responses), goal

        grads, goal = jax.grad(first, has_aux=True)(trained.parameters)
        trained = move(trained, grads, settings.optimiser)
    else:
        own = in_slices(lambda part: log_prob(trained.parameters, part), responses, settings.rows)
        goal = wanted(own, responses, log_ref, feedback.preference)
    remaining = settings.num_updates - whole
    if remaining == 0:
        return trained
    return jax.lax.fori_loop(0, remaining, lambda _, trained: step(trained, goal), trained)


@jax.jit
def _jitted_fit(
    settings: _Settings,
    model: LanguageModel,
    key: Array,
    policy: Policy,
    loss: Callable[..., Array],
    comparisons: Comparisons,
    calibration: Calibration | None = None,
) -> Trained:
    trained = _trained(policy)
    # a memory of no weight has neither sum nor calibration term; any divisor but 0 keeps NaN out of both
    whole = comparisons.weight.sum()
    whole = jnp.where(whole > 0, whole, jnp.ones_like(whole))

    def update(index: Array, trained: Trained) -> Trained:
        rows_key, draw_key = jax.random.split(jax.random.fold_in(key, index))
        rows = clean(_drawn(rows_key, comparisons, settings.fit_rows))
        total = jnp.maximum(rows.weight.sum(), 1e-30)
        both = pair(rows.first, rows.second)
        ref = in_slices(lambda part: sequence_log_prob(model, REFERENCE, part), both, settings.rows)
        ratio_rows: Any = (both, ref, rows.prefer_first, rows.weight)
        if calibration is not None:
            ratio_rows = (*ratio_rows, _calibration_draws(settings, model, draw_key, calibration, both))

        def objective(parameters: Any, part: Any) -> Array:
            both, ref, prefer_first, weight, *extra = part
            policy = Trained(parameters, ())
            ratio = token_log_prob(model, policy, both).sum(-1) - ref
            values = loss(ratio[:, 0], ratio[:, 1], prefer_first.astype(ratio.dtype))
            there = weight > 0
            value = (jnp.where(there, weight.astype(ratio.dtype) * values, 0)).sum() / total.astype(
                ratio.dtype
            )
            if calibration is None:
                return value
            # the memory's weight, not the minibatch's: the term stands once beside the sum over all rows
            scale = jnp.asarray(calibration.weight, ratio.dtype) / whole.astype(ratio.dtype)
            log_prob = token_log_prob(model, policy, extra[0]).sum(-1)[:, 0]
            share = weight.astype(ratio.dtype) / total.astype(ratio.dtype)
            return value + scale * jnp.where(there, share * log_prob, 0).sum()

        grads = gradient(objective, trained.parameters, ratio_rows, settings.rows)
        return move(trained, grads, settings.optimiser)

    return jax.lax.fori_loop(0, settings.num_updates, update, trained)


def _drawn(key: Array, comparisons: Comparisons, num: int | None) -> Comparisons:
    """Draw rows in proportion to their weight, which then is 1; or take all as they are."""
    if num is None or num >= comparisons.weight.shape[0]:
        return comparisons
    upper = jnp.cumsum(comparisons.weight)
    draws = jax.random.uniform(key, (num,), upper.dtype) * upper[-1]
    last = comparisons.weight.shape[0] - 1 - jnp.argmax(comparisons.weight[::-1] > 0)
    drawn = rows_at(comparisons, upper, draws, last)
    # 0 where no row has any weight: nothing is learnt from an empty memory
    return drawn._replace(weight=(drawn.weight > 0).astype(drawn.weight.dtype))


def _calibration_draws(
    settings: _Settings, model: LanguageModel, key: Array, calibration: Calibration, both: Responses
) -> Responses:
    """One response of the calibration policy to the prompt of each row, ``[N, 1]``."""
    return sample(
        key,
        model,
        calibration.policy,
        both.prompt[:, 0],
        num_responses=1,
        length=both.tokens.shape[-1],
        end=settings.end,
    )
