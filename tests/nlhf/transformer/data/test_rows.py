"""Every row that breaks a rule is named; every convention comes out in one normal form."""

import json

import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.transformer.data.rows import RowError, check_preference, check_prompt


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be brief."}
GOOD = {"prompt": "Sky?", "chosen": " Blue.", "rejected": " Red."}
ASKED = [user("Sky?")]
TALK = {"prompt": ASKED, "chosen": [assistant("Blue.")], "rejected": [assistant("Red.")]}
HH = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Sky?\n\nAssistant:"

TEXTS = {
    "explicit prompt": (GOOD, "Sky?", " Blue.", " Red."),
    "bytes": ({key: value.encode() for key, value in GOOD.items()}, "Sky?", " Blue.", " Red."),
    "dialogue": ({"chosen": HH + " Blue.", "rejected": HH + " Blown."}, HH, " Blue.", " Blown."),
    "null prompt": ({"prompt": None, "chosen": HH + " A", "rejected": HH + " B"}, HH, " A", " B"),
    "common prefix": ({"chosen": "Sky? Blue.", "rejected": "Sky? Blown."}, "Sky?", " Blue.", " Blown."),
    "word within a word": ({"chosen": "A cat", "rejected": "A cats"}, "A", " cat", " cats"),
    "new line": ({"chosen": "Sky?\nBlue", "rejected": "Sky?\nRed"}, "Sky?\n", "Blue", "Red"),
    "tie": ({"prompt": "x", "chosen": "a", "rejected": "a", "p": 0.5}, "x", "a", "a"),
    "tie of dialogues": ({"chosen": HH + " A", "rejected": HH + " A", "p": 0.5}, HH, " A", " A"),
}
CONVERSATIONS = {
    "explicit prompt": (TALK, 1),
    "tuples and arrays": ({**TALK, "chosen": tuple(TALK["chosen"]), "prompt": np.array(ASKED, object)}, 1),
    "prompt repeated": (
        {"prompt": ASKED, "chosen": ASKED + TALK["chosen"], "rejected": ASKED + TALK["rejected"]},
        1,
    ),
    "prompt as a text": (
        {"prompt": "Sky?", "chosen": ASKED + TALK["chosen"], "rejected": ASKED + TALK["rejected"]},
        1,
    ),
    "shared prefix": ({"chosen": ASKED + TALK["chosen"], "rejected": ASKED + TALK["rejected"]}, 1),
    "system": ({**TALK, "prompt": [SYSTEM, *ASKED]}, 2),
    "several turns": ({**TALK, "prompt": [user("Hi"), assistant("Yes?"), *ASKED]}, 3),
    "as JSON": (
        {**{key: json.dumps(value).encode() for key, value in TALK.items()}, "format": b"messages"},
        1,
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_in_every_convention(name):
    row, *expected = TEXTS[name]
    found = check_preference(row)
    assert [found["prompt"], found["chosen"], found["rejected"]] == expected
    assert check_preference(found) == found


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_in_every_convention(name):
    row, turns = CONVERSATIONS[name]
    found = check_preference(row)
    assert found["chosen"] == [assistant("Blue.")]
    assert found["rejected"] == [assistant("Red.")]
    assert found["prompt"][-1] == user("Sky?")
    assert len(found["prompt"]) == turns
    assert check_preference(found) == found


def test_probability_and_id():
    assert check_preference(GOOD)["p"] == 1
    assert check_preference({**GOOD, "p": None, "id": None})["id"] == ""
    assert check_preference({**GOOD, "p": np.float32(0.25), "id": 7}) | {"prompt": 0} == {
        **GOOD, "p": 0.25, "id": "7", "prompt": 0,
    }  # fmt: skip
    assert check_preference({**GOOD, "p": 0})["p"] == 0


BAD = {
    "no object": (["a"], r"the row is not an object with fields \(it is \['a'\]\); give"),
    "chosen missing": (
        {"prompt": "x", "rejected": "b"},
        r"chosen is missing \(the fields are prompt, rejected\)",
    ),
    "rejected missing": ({"prompt": "x", "chosen": "b"}, "rejected is missing"),
    "chosen null": ({**GOOD, "chosen": None}, "chosen is null; give a string or a list of messages"),
    "rejected null": ({**GOOD, "rejected": None}, "rejected is null"),
    "number": ({**GOOD, "chosen": 3}, "chosen is neither a text nor a list of messages"),
    "empty list": ({**TALK, "chosen": []}, r"chosen is neither a text nor a list of messages \(it is \[\]"),
    "list of texts": (
        {**GOOD, "chosen": ["Blue."]},
        r"chosen is not a list of messages \(chosen\[0\]: it is 'Blue.'",
    ),
    "no content": ({**TALK, "chosen": [{"role": "assistant"}]}, r"chosen is not a list of messages"),
    "content null": ({**TALK, "chosen": [{"role": "assistant", "content": None}]}, "not a list of messages"),
    "content number": (
        {**TALK, "chosen": [{"role": "assistant", "content": 3}]},
        r"chosen is not a text \(chosen\[0\].content: it is 3",
    ),
    "two kinds": ({**TALK, "rejected": "Red."}, "chosen and rejected are not of one kind"),
    "prompt of messages": ({**GOOD, "prompt": ASKED}, "prompt holds messages but chosen and rejected texts"),
    "equal": ({**GOOD, "rejected": " Blue."}, "chosen equals rejected; give p, e.g. 0.5 for a tie"),
    "equal messages": ({**TALK, "rejected": TALK["chosen"]}, "chosen equals rejected"),
    "equal without prompt": ({"chosen": "a b", "rejected": "a b", "p": 0.5}, "chosen is empty"),
    "empty answer": ({**GOOD, "chosen": ""}, "chosen is empty"),
    "blank answer": ({**GOOD, "rejected": " \n"}, "rejected is empty"),
    "empty message": ({**TALK, "chosen": [assistant("")]}, "chosen is empty"),
    "one answer begins the other": ({"chosen": "a b", "rejected": "a b c"}, "chosen is empty"),
    "empty prompt": ({**GOOD, "prompt": ""}, "prompt is empty; give one, or allow empty prompts"),
    "prompt number": ({**GOOD, "prompt": 3}, "prompt is neither a text nor a list"),
    "no common prefix": (
        {"chosen": "Blue.", "rejected": "Red."},
        "chosen and rejected have no common prefix",
    ),
    "only a space in common": ({"chosen": " Blue.", "rejected": " Red."}, "have no common prefix"),
    "dialogues differ": ({"chosen": HH + " A", "rejected": HH[1:] + " B"}, "differ before the last turn"),
    "dialogues of one length differ": (
        {"chosen": HH + " A", "rejected": HH.replace("Hi", "Ho") + " B"},
        "differ before the last turn",
    ),
    "one is no dialogue": ({"chosen": HH + " A", "rejected": "\n\nHuman: Hi"}, "differ before the last turn"),
    "no shared message": (
        {"chosen": [user("a"), assistant("b")], "rejected": [user("c"), assistant("d")]},
        "no common",
    ),
    "no assistant turn": ({**TALK, "chosen": [user("Blue?")]}, "roles of chosen do not alternate"),
    "ends with a user": (
        {**TALK, "chosen": [assistant("Blue."), user("Sure?")]},
        "chosen does not end with a message",
    ),
    "more than one turn": (
        {**TALK, "chosen": [assistant("Blue."), user("Sure?"), assistant("Yes.")]},
        r"differ before the last turn \(chosen has 3 messages after the prompt\)",
    ),
    "differ too early": (
        {"chosen": [*ASKED, assistant("a"), user("b"), assistant("c")], "rejected": [*ASKED, assistant("d")]},
        "differ before the last turn",
    ),
    "unknown role": (
        {**TALK, "prompt": [{"role": "human", "content": "Sky?"}]},
        "prompt holds an unknown role",
    ),
    "roles twice": ({**TALK, "prompt": [user("a"), user("b")]}, "roles of chosen do not alternate"),
    "late system": ({**TALK, "prompt": [*ASKED, SYSTEM]}, "roles of chosen do not alternate"),
    "prompt elsewhere": (
        {"prompt": "Sea?", "chosen": ASKED + TALK["chosen"], "rejected": ASKED + TALK["rejected"]},
        "prompt is not in the messages",
    ),
    "p too large": ({**GOOD, "p": 1.5}, r"p is not in \[0, 1\] \(it is 1.5\)"),
    "p negative": ({**GOOD, "p": -1}, r"p is not in \[0, 1\]"),
    "p NaN": ({**GOOD, "p": float("nan")}, r"p is not in \[0, 1\] \(it is nan\)"),
    "p text": ({**GOOD, "p": "0.5"}, "p is not a number"),
    "p true": ({**GOOD, "p": True}, "p is not a number"),
    "id a list": ({**GOOD, "id": ["a"]}, "id is not a text"),
    "unpaired": ({"prompt": "x", "completion": "y", "label": True}, "unpaired row.*pair the rows"),
    "surrogate": ({**GOOD, "chosen": "a\ud800"}, r"chosen holds a lone surrogate \(character 1\)"),
    "bytes": ({**GOOD, "chosen": b"a\xff"}, r"chosen is not UTF-8 \(byte 1\)"),
    "no JSON of messages": ({**GOOD, "format": "messages"}, "is not the JSON of messages"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_name_the_field_and_the_rule(name):
    row, message = BAD[name]
    with pytest.raises(RowError, match=message) as caught:
        check_preference(row)
    assert isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(caught.value.reason)


def test_an_empty_prompt_only_by_option():
    assert check_preference({**GOOD, "prompt": ""}, empty_prompt=True)["prompt"] == ""
    assert check_prompt({"prompt": ""}, empty_prompt=True)["prompt"] == ""


def test_prompts():
    assert check_prompt("Sky?") == check_prompt(b"Sky?") == {"prompt": "Sky?", "id": ""}
    assert check_prompt({"prompt": ASKED, "id": "7"}) == {"prompt": ASKED, "id": "7"}
    assert check_prompt({"chosen": HH + " A", "rejected": HH + " B"})["prompt"] == HH


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "prompt is missing"),
        ({"prompt": None}, "prompt is null"),
        ("", "prompt is empty"),
        ({"prompt": 3}, "prompt is neither"),
        ({"prompt": [user("a"), assistant("b")]}, "prompt does not end with a message of role user"),
        ({"prompt": [SYSTEM]}, "prompt does not end with a message of role user"),
        (3, "the row is not an object"),
    ],
)
def test_bad_prompts(row, message):
    with pytest.raises(RowError, match=message):
        check_prompt(row)
