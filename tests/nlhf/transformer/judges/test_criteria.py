import sys

import pytest

from nlhf.errors import InputError
from nlhf.transformer.judges import criteria
from nlhf.transformer.judges.criteria import CRITERIA


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [
        ("sentiment", "What a wonderful, happy day!", "What a terrible, sad day."),
        ("diversity", "One dog met another cat.", "The dog met the dog met the dog."),
        ("dialogue", 'He said, "I am here, come in."', 'He said, "Yes." Then he went away again.'),
        ("dialogue", "She said “no, never”.", "She said no, never."),
        ("short_sentences", "He ran. She ran.", "He ran and then she ran as well."),
        ("short_words", "a bee is in it", "extraordinary circumstances"),
    ],
)
def test_a_criterion_ranks_what_it_says(name, better, worse):
    assert CRITERIA[name](better) > CRITERIA[name](worse)


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("text", ["", " ", "...!?", '"', "\ufffd\n", "1 2 3", "¿Qué? 你好", "a" * 5000])
def test_any_text_has_a_score(name, text):
    score = CRITERIA[name](text)
    assert isinstance(score, float)
    assert -1 <= score <= 1


@pytest.mark.parametrize("name", [name for name in CRITERIA if name != "sentiment"])
def test_no_words_are_never_better_than_words(name):
    assert CRITERIA[name]("") == 0 <= CRITERIA[name]("Some words of a text stand here.")


def test_counts_by_hand():
    text = '"Don\'t go," said Tom. Tom left... Why?'
    # don't, go, said, tom, tom, left, why; two distinct Toms are one
    assert criteria.diversity(text) == 6 / 7
    assert criteria.short_sentences(text) == 3 / 7
    assert criteria.short_words(text) == 7 / (5 + 2 + 4 + 3 + 3 + 4 + 3)
    assert criteria.dialogue(text) == len("Don't go,") / len(text)


def test_a_missing_package_is_named(monkeypatch):
    criteria._analyser.cache_clear()
    for module in ("vaderSentiment", "vaderSentiment.vaderSentiment"):
        monkeypatch.setitem(sys.modules, module, None)
    try:
        with pytest.raises(InputError, match=r"vaderSentiment.*install 'nlhf\[judges\]'"):
            criteria.sentiment("happy")
    finally:
        criteria._analyser.cache_clear()
