"""What a policy of a language model is: base weights that stay, and what is trained on top of them.

``Trained(parameters, optimiser_state)`` has parameters of its own (the whole model, or adapters);
``Trained(None, ())`` is the reference, the base itself; a ``Mixture`` is combined token by token when it is
sampled from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nlhf.base import Policy, Static
from nlhf.errors import InputError
from nlhf.policies import Mixture, Trained
from nlhf.transformer.model import likelihood
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.model.lora import Lora, merge
from nlhf.transformer.responses import Responses

Array = jax.Array
REFERENCE = Trained(None, ())


class Frame(NamedTuple):
    """The fixed part of all policies of one model; a pytree.

    Attributes:
      base: parameters of the reference.
      settings: ``(config, lora, chunk)``; structure, not data.
    """

    base: Any
    settings: Static

    @property
    def config(self) -> ModelConfig:
        """The model's."""
        return self.settings[0]

    @property
    def lora(self) -> Lora | None:
        """The adapters', ``None`` where all parameters are trained."""
        return self.settings[1]

    @property
    def chunk(self) -> int:
        """Logits at a time, as in ``likelihood``."""
        return self.settings[2]


def frame(base: Any, config: ModelConfig, lora: Lora | None = None, chunk: int = likelihood.CHUNK) -> Frame:
    """Bind base parameters and what is fixed about them.

    Args:
      base: parameters of the reference.
      config: of the model.
      lora: of the adapters; ``None`` trains all parameters.
      chunk: logits at a time.
    """
    return Frame(base, Static((config, lora, chunk)))


def weights(fixed: Frame, policy: Trained) -> Any:
    """Parameters of the whole model that a policy stands for.

    Args:
      fixed: of the model.
      policy: trained, or the reference.
    """
    if policy.parameters is None:
        return fixed.base
    return policy.parameters if fixed.lora is None else merge(fixed.base, policy.parameters, fixed.lora)


def components(fixed: Frame, policy: Policy) -> tuple[likelihood.Component, ...]:
    """Models and exponents ``((params, weight), ...)`` of a policy; a mixture has one for each of its parts.

    Args:
      fixed: of the model.
      policy: trained, the reference, or a mixture.

    Raises:
      InputError: if it is something else.
    """
    if isinstance(policy, Mixture):
        kept = 1 - policy.weight
        own = tuple((params, kept * weight) for params, weight in components(fixed, policy.policy))
        other = tuple((params, policy.weight * weight) for params, weight in components(fixed, policy.other))
        return own + other
    if not isinstance(policy, Trained):
        raise InputError(
            f"the policy is a {type(policy).__name__}, but a language model's is Trained or a Mixture; "
            "begin with transformer.start(...)"
        )
    return ((weights(fixed, policy), 1.0),)


def token_log_prob(fixed: Frame, policy: Policy, responses: Responses) -> Array:
    """Token-level log-probabilities ``[B, K, R]``, those of what the sampler draws from.

    Args:
      fixed: of the model.
      policy: trained, the reference, or a mixture.
      responses: ``[B, K]``.
    """
    return likelihood.token_log_prob(components(fixed, policy), fixed.config, responses, chunk=fixed.chunk)


def sequence_log_prob(fixed: Frame, policy: Policy, responses: Responses) -> Array:
    """Sequence-level log-probabilities ``[B, K]``; of a mixture up to a constant a prompt.

    ``log m(y|x) = (1 - w) log π(y|x) + w log π'(y|x) - log Z(x)``, without the last term: it cancels wherever
    responses to one prompt are contrasted, and cannot be had without all responses.

    Args:
      fixed: of the model.
      policy: trained, the reference, or a mixture.
      responses: ``[B, K]``.
    """
    if isinstance(policy, Mixture):
        own = sequence_log_prob(fixed, policy.policy, responses)
        other = sequence_log_prob(fixed, policy.other, responses)
        weight = jnp.asarray(policy.weight, own.dtype)
        return (1 - weight) * own + weight * other
    return token_log_prob(fixed, policy, responses).sum(-1)
