"""Judges: where preferences between responses come from. ``protocol`` says what one is; each kind has a file.

``table`` looks strings up, ``population`` lets criteria of the text vote, ``from_function`` asks a Python
function, ``reward`` and ``pairwise`` are models that ``train_judge`` trains. ``symmetric`` takes a preference
for whatever stands first out of any of them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlhf.transformer.judges.lookup import table as table
    from nlhf.transformer.judges.pairwise_model import judge as pairwise
    from nlhf.transformer.judges.protocol import Judge as Judge
    from nlhf.transformer.judges.protocol import symmetric as symmetric
    from nlhf.transformer.judges.reward_model import judge as reward
    from nlhf.transformer.judges.service import from_function as from_function
    from nlhf.transformer.judges.training import train_judge as train_judge
    from nlhf.transformer.judges.voting import population as population

_HOMES = {
    "Judge": ("protocol", "Judge"),
    "from_function": ("service", "from_function"),
    "pairwise": ("pairwise_model", "judge"),
    "population": ("voting", "population"),
    "reward": ("reward_model", "judge"),
    "symmetric": ("protocol", "symmetric"),
    "table": ("lookup", "table"),
    "train_judge": ("training", "train_judge"),
}
__all__ = [
    "Judge",
    "from_function",
    "pairwise",
    "population",
    "reward",
    "symmetric",
    "table",
    "train_judge",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return __all__
