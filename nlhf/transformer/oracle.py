"""The sampled oracle of a language model: it draws responses to this step's prompts and asks a judge."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from nlhf.base import Comparisons, Feedback, Oracle, Policy, check_number, check_whole
from nlhf.errors import InputError
from nlhf.transformer.judges.protocol import Judge, duel_preference, preferences
from nlhf.transformer.policy import LanguageModel, sample
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


@jax.tree_util.register_static
class _Settings(NamedTuple):
    num_responses: int
    length: int
    end: int | None
    soft_labels: bool
    top_k: int | None


def sampled_oracle(
    model: LanguageModel,
    judge: Judge,
    prompts: Prompts | Array,
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

    Make the oracle of each step from that step's prompts: they are arrays, so nothing compiles twice.

    Args:
      judge: answers which response is better; see ``nlhf.transformer.judges``.
      prompts: of this step; an array ``[B, P]`` of left-padded ids is numbered from 0.
      num_responses: K >= 2 of a payoff.
      length: R, tokens a response at most.
      end: id of the token that ends a response.
      temperature: >= 0, of the draws; other than 1 they are not those of the policy.
      top_k: how many tokens may be drawn, >= 1; with it, too, draws are not those of the policy.
      top_p: mass of the likeliest tokens that may be drawn, in (0, 1]; the same holds.
      soft_labels: whether a duel's label is the judge's probability, or 0 or 1 drawn with it.

    Raises:
      InputError: if a number is out of range, the judge is no ``Judge`` or cannot answer about all that the
        model may write, or the prompts are not left-padded ids that leave room for the response; traced
        values, and prompts on the devices of several processes, pass unchecked.
    """
    length = check_whole("length", length)
    check_number("temperature", temperature)
    if top_p is not None:
        check_number("top_p", top_p, high=1.0, open_low=True)
    if not isinstance(judge, Judge):
        raise InputError(
            f"the judge is a {type(judge).__name__}, not a Judge; wrap a function of (prompt, first, second) "
            "texts as transformer.judges.from_function(function, tokenizer.decode)"
        )
    if not isinstance(prompts, Prompts):
        prompts = Prompts(jnp.asarray(prompts, jnp.int32), jnp.arange(np.shape(prompts)[0], dtype=jnp.int32))
    check_prompts(prompts.tokens, length, model.config.vocabulary, model.config.context)
    if judge.check is not None:
        judge.check(model.config.vocabulary, length, end)
    settings = _Settings(
        check_whole("num_responses", num_responses, low=2),
        length,
        end,
        bool(soft_labels),
        None if top_k is None else check_whole("top_k", top_k),
    )
    # a number is a leaf, traced in a jitted step; None is structure, by which the sampler can see that it has
    # nothing to filter
    unchanged = isinstance(temperature, int | float) and temperature == 1
    asked = _Asked(settings, model, judge, prompts, None if unchanged else temperature, top_p)
    return Oracle(Partial(_payoff, asked), Partial(_duel, asked))


class _Asked(NamedTuple):
    settings: _Settings
    model: LanguageModel
    judge: Judge
    prompts: Prompts
    temperature: Any
    top_p: Any


def _draw(asked: _Asked, key: Array, policy: Policy, num: int) -> Responses:
    return sample(
        key,
        asked.model,
        policy,
        asked.prompts.tokens,
        num_responses=num,
        length=asked.settings.length,
        temperature=1.0 if asked.temperature is None else asked.temperature,
        top_k=asked.settings.top_k,
        top_p=asked.top_p,
        end=asked.settings.end,
    )


def _payoff(asked: _Asked, key: Array, policy: Policy) -> Feedback:
    responses = _draw(asked, key, policy, asked.settings.num_responses)
    return Feedback(responses, preferences(asked.judge, responses).mean(-1) - 0.5)


def _duel(asked: _Asked, key: Array, policy: Policy, opponent: Policy) -> Comparisons:
    first_key, second_key, label_key = jax.random.split(key, 3)
    first, second = (
        jax.tree.map(lambda leaf: leaf[:, 0], _draw(asked, draw_key, drawer, 1))
        for draw_key, drawer in ((first_key, policy), (second_key, opponent))
    )
    prefer_first = duel_preference(asked.judge, first, second)
    if not asked.settings.soft_labels:
        draws = jax.random.uniform(label_key, prefer_first.shape, prefer_first.dtype)
        labels = (draws < prefer_first).astype(prefer_first.dtype)
        # no number is below NaN: as the label 0 it would hide from the loss, and so from the guard of the run
        prefer_first = jnp.where(jnp.isnan(prefer_first), prefer_first, labels)
    return Comparisons(asked.prompts.number, first, second, prefer_first, jnp.ones_like(prefer_first))
