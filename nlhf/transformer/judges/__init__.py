"""Judges: where preferences between responses come from. ``protocol`` says what one is; each kind has a file.

``table`` looks strings up, ``population`` lets criteria of the text vote, ``from_function`` asks a Python
function, ``reward`` and ``pairwise`` are models that ``train_judge`` trains. ``symmetric`` takes a preference
for whatever stands first out of any of them.
"""

from nlhf.faces import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Judge": "nlhf.transformer.judges.protocol",
        "from_function": "nlhf.transformer.judges.service",
        "pairwise": "nlhf.transformer.judges.pairwise_model:judge",
        "population": "nlhf.transformer.judges.voting",
        "reward": "nlhf.transformer.judges.reward_model:judge",
        "symmetric": "nlhf.transformer.judges.protocol",
        "table": "nlhf.transformer.judges.lookup",
        "train_judge": "nlhf.transformer.judges.training",
    },
)
