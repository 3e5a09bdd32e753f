"""The sampled oracle of a language model: it draws responses to this step's prompts and asks a judge."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from nlhf.base import Comparisons, Feedback, Oracle, Policy, Static, check_number, check_whole
from nlhf.transformer.judges.protocol import Judge, duel_preference, preferences
from nlhf.transformer.model.sampler import sample
from nlhf.transformer.policy import Frame, components
from nlhf.transformer.responses import Responses, check_prompts

Array = jax.Array


class Prompts(NamedTuple):
    """The prompts of one step.

    Attributes:
      tokens: ``[B, P]`` ids, left-padded with -1.
      number: ``[B]`` which prompts of the data they are.
    """

    tokens: Array
    number: Array


class _Settings(NamedTuple):
    num_responses: int
    length: int
    end: int | None
    soft_labels: bool
    top_k: int | None


def sampled_oracle(
    fixed: Frame,
    judge: Judge,
    prompts: Prompts,
    *,
    num_responses: int = 4,
    length: int,
    end: int | None = None,
    temperature: Any = 1.0,
    top_k: int | None = None,
    top_p: Any = None,
    soft_labels: bool = False,
) -> Oracle:
    """Ask a judge about responses that the policy in question writes to this step's prompts.

    ``payoff(key, π)``: K responses ``y_k ~ π`` to each prompt, and for each ``P̂_k = mean_l P(y_k ≻ y_l)``
    over all l, *itself included* with 1/2. With l = k left out, contrasts of the P̂_k would be those of
    ``P(· ≻ π)`` times K/(K - 1), and β in effect smaller: each response is both judged and an opponent.
    ``duel(key, π, π')``: one response of each to every prompt, and a label.

    The oracle of a step is made anew from its prompts: arrays, so that nothing compiles twice.

    Args:
      fixed: base model.
      judge: whom to ask.
      prompts: of this step.
      num_responses: K >= 2 of a payoff.
      length: R, tokens a response at most.
      end: id of the token that ends a response.
      temperature: >= 0, of the draws; other than 1 they are not those of the policy.
      top_k: likewise, how many tokens may be drawn, >= 1.
      top_p: likewise, their least probability together, in (0, 1].
      soft_labels: whether a duel's label is the judge's probability, or 0 or 1 drawn with it.

    Raises:
      InputError: if a number is out of range, if the judge cannot answer about all that the model may write,
        or if the prompts are not left-padded ids that leave room for the response; traced values, and
        prompts on the devices of several processes, pass unchecked.
    """
    length = check_whole("length", length)
    check_number("temperature", temperature)
    if top_p is not None:
        check_number("top_p", top_p, high=1.0, open_low=True)
    check_prompts(prompts.tokens, length, fixed.config.vocabulary, fixed.config.context)
    if judge.check is not None:
        judge.check(fixed.config.vocabulary, length, end)
    settings = Static(
        _Settings(
            check_whole("num_responses", num_responses, low=2),
            length,
            end,
            bool(soft_labels),
            None if top_k is None else check_whole("top_k", top_k),
        )
    )
    # a number is a leaf, traced in a jitted step; None is structure, by which the sampler can see that it has
    # nothing to filter
    unchanged = isinstance(temperature, int | float) and temperature == 1
    heat = (None if unchanged else temperature, top_p)
    return Oracle(
        Partial(_payoff, settings, fixed, judge, prompts, heat),
        Partial(_duel, settings, fixed, judge, prompts, heat),
    )


def _draw(
    plain: _Settings, fixed: Frame, prompts: Prompts, heat: Any, key: Array, policy: Policy, num: int
) -> Responses:
    temperature, top_p = heat
    return sample(
        key,
        components(fixed, policy),
        fixed.config,
        prompts.tokens,
        num_responses=num,
        length=plain.length,
        temperature=1.0 if temperature is None else temperature,
        top_k=plain.top_k,
        top_p=top_p,
        end=plain.end,
    )


def _payoff(
    settings: Static, fixed: Frame, judge: Judge, prompts: Prompts, heat: Any, key: Array, policy: Policy
) -> Feedback:
    plain = _Settings(*settings)
    responses = _draw(plain, fixed, prompts, heat, key, policy, plain.num_responses)
    return Feedback(responses, preferences(judge, responses).mean(-1) - 0.5)


def _duel(
    settings: Static,
    fixed: Frame,
    judge: Judge,
    prompts: Prompts,
    heat: Any,
    key: Array,
    policy: Policy,
    opponent: Policy,
) -> Comparisons:
    plain = _Settings(*settings)
    first_key, second_key, label_key = jax.random.split(key, 3)
    first, second = (
        jax.tree.map(lambda leaf: leaf[:, 0], _draw(plain, fixed, prompts, heat, draw_key, drawer, 1))
        for draw_key, drawer in ((first_key, policy), (second_key, opponent))
    )
    prefer_first = duel_preference(judge, first, second)
    if not plain.soft_labels:
        draws = jax.random.uniform(label_key, prefer_first.shape, prefer_first.dtype)
        labels = (draws < prefer_first).astype(prefer_first.dtype)
        # no number is below NaN: as the label 0 it would hide from the loss, and so from the guard of the run
        prefer_first = jnp.where(jnp.isnan(prefer_first), prefer_first, labels)
    return Comparisons(prompts.number, first, second, prefer_first, jnp.ones_like(prefer_first))
