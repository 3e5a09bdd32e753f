"""What a training run keeps between steps, and the part of it that other commands read."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from nlhf.policies import Trained
from nlhf.transformer.model.lora import init_adapters
from nlhf.transformer.policy import LanguageModel


class TrainState(NamedTuple):
    """State of a run.

    Attributes:
      algorithm: of the algorithm; of a judge in training, its ``Trained``.
      key: root of the draws of every step.
    """

    algorithm: Any
    key: Any


class PolicyPart(NamedTuple):
    """The part of an algorithm's state that all of them have.

    Attributes:
      policy: the last iterate.
    """

    policy: Trained


def trained_template(key: Any, model: LanguageModel) -> PolicyPart:
    """Shapes of the trained parameters of a run.

    Args:
      key: any.
    """
    if model.lora is None:
        parameters = jax.eval_shape(lambda: model.params)
    else:
        settings = model.lora
        parameters = jax.eval_shape(lambda: init_adapters(key, model.params, settings))
    return PolicyPart(Trained(parameters, ()))
