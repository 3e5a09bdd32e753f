"""Language models and their policies.

``Trained(parameters, optimiser_state)`` is a policy with parameters of its own: the whole model's, or
adapters'. ``Trained(None, ())`` is the reference, the model itself. A ``Mixture`` is combined token by token
when it is sampled from.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from nlhf.base import Policy
from nlhf.errors import InputError
from nlhf.policies import Mixture, Trained
from nlhf.transformer.model import likelihood, sampler
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.model.lora import Lora, merge
from nlhf.transformer.responses import Responses

Array = jax.Array
REFERENCE = Trained(None, ())


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["params"], meta_fields=["config", "lora", "chunk"]
)
@dataclasses.dataclass(frozen=True)
class LanguageModel:
    """What all policies of one language model share; a pytree whose leaves are the reference's parameters.

    Attributes:
      params: parameters of the reference, which no step changes.
      config: its sizes.
      lora: size of the adapters that are trained; ``None`` trains all parameters.
      chunk: about how many logits are held at a time, as in ``likelihood``.
    """

    params: Any
    config: ModelConfig
    lora: Lora | None = None
    chunk: int = likelihood.CHUNK


def weights(model: LanguageModel, policy: Trained) -> Any:
    """Parameters of the whole model that a policy stands for, with its adapters merged in."""
    if policy.parameters is None:
        return model.params
    return policy.parameters if model.lora is None else merge(model.params, policy.parameters, model.lora)


def components(model: LanguageModel, policy: Policy) -> tuple[likelihood.Component, ...]:
    """Parameters and exponents ``((params, weight), ...)`` of a policy; a mixture has one for each part.

    Raises:
      InputError: if the policy is neither trained, the reference nor a mixture.
    """
    if isinstance(policy, Mixture):
        kept = 1 - policy.weight
        own = tuple((params, kept * weight) for params, weight in components(model, policy.policy))
        other = tuple((params, policy.weight * weight) for params, weight in components(model, policy.other))
        return own + other
    if not isinstance(policy, Trained):
        raise InputError(
            f"the policy is a {type(policy).__name__}, but a language model's is Trained or a Mixture; "
            "begin with transformer.start(...)"
        )
    return ((weights(model, policy), 1.0),)


def sample(key: Array, model: LanguageModel, policy: Policy, prompts: Array, **settings: Any) -> Responses:
    """Draw K responses to each prompt from a policy, ``[B, K]``.

    Args:
      prompts: ``[B, P]`` ids, left-padded with -1.
      **settings: ``length`` and, as in ``model.sampler.sample``, ``num_responses``, ``temperature``,
        ``top_k``, ``top_p`` and ``end``.

    Raises:
      InputError: if the prompts are no ids of the model, or a setting is out of range.
    """
    return sampler.sample(key, components(model, policy), model.config, prompts, **settings)


def token_log_prob(model: LanguageModel, policy: Policy, responses: Responses) -> Array:
    """Log-probabilities ``[B, K, R]`` of the tokens of responses ``[B, K]``, those the sampler draws from."""
    return likelihood.token_log_prob(components(model, policy), model.config, responses, chunk=model.chunk)


def sequence_log_prob(model: LanguageModel, policy: Policy, responses: Responses) -> Array:
    """Log-probabilities ``[B, K]`` of whole responses ``[B, K]``; of a mixture up to a constant a prompt.

    ``log m(y|x) = (1 - w) log π(y|x) + w log π'(y|x) - log Z(x)``, without the last term: it cancels wherever
    responses to one prompt are contrasted, and cannot be had without all responses.
    """
    if isinstance(policy, Mixture):
        own = sequence_log_prob(model, policy.policy, responses)
        other = sequence_log_prob(model, policy.other, responses)
        weight = jnp.asarray(policy.weight, own.dtype)
        return (1 - weight) * own + weight * other
    return token_log_prob(model, policy, responses).sum(-1)
