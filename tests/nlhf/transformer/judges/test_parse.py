import pytest

from nlhf.errors import InputError
from nlhf.transformer.judges.criteria import CRITERIA
from nlhf.transformer.judges.parse import Choice, find_function, parse_judge


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("population:sentiment", Choice("population", {"sentiment": 1.0}, "")),
        (
            "population: sentiment=2, short_words=0.5",
            Choice("population", {"sentiment": 2.0, "short_words": 0.5}, ""),
        ),
        (f"population:{','.join(CRITERIA)}", Choice("population", dict.fromkeys(CRITERIA, 1.0), "")),
        ("table", Choice("table", {}, "")),
        ("reward:runs/rm", Choice("reward", {}, "runs/rm")),
        ("pairwise:/a/b:c", Choice("pairwise", {}, "/a/b:c")),
        ("python:judges:ask", Choice("python", {}, "judges:ask")),
    ],
)
def test_a_judge_is_read(text, choice):
    assert parse_judge(text) == choice


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("oracle", "no judge 'oracle'; the known ones are: population:NAME"),
        ("", "no judge ''"),
        ("population:", "no judge that counts; give criteria out of sentiment"),
        ("population", "no judge that counts"),
        ("population:sentiment=0", "no judge that counts"),
        ("population:humour", "'humour' is not a criterion; known are sentiment, diversity, dialogue"),
        ("population:sentiment,", "'' is not a criterion"),
        ("population:sentiment,sentiment=2", "sentiment is named twice"),
        ("population:sentiment=-1", "the weight of sentiment is '-1'"),
        ("population:sentiment=nan", "the weight of sentiment is 'nan'"),
        ("population:sentiment=inf", "the weight of sentiment is 'inf'"),
        ("population:sentiment=much", "the weight of sentiment is 'much'"),
        ("population:sentiment=", "the weight of sentiment is ''"),
        ("table:games", "the judge 'table:games' cannot be read; give table"),
        ("reward", "the judge 'reward' cannot be read; give reward:FOLDER"),
    ],
)
def test_what_is_no_judge_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_judge(text)


def test_a_module_that_raises_is_named_with_its_line(tmp_path, monkeypatch):
    (tmp_path / "my_broken_judge.py").write_text("import math\n\nmath.no_such_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"AttributeError: .* at .*my_broken_judge\.py:3\); fix it"):
        find_function("my_broken_judge:judge")


def test_a_function_is_found_by_its_module():
    assert find_function("nlhf.transformer.judges.parse:parse_judge") is parse_judge


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("math", "cannot be read; give python:MODULE:FUNCTION"),
        ("math:sqrt(2)", "cannot be read"),
        ("../judges:ask", "cannot be read"),
        ("no_such_module:ask", "cannot be imported .*start in the folder of no_such_module"),
        ("math:no_such_function", "module math has no function no_such_function"),
        ("math:pi", "module math has no function pi"),
    ],
)
def test_what_is_no_function_is_refused(place, message):
    with pytest.raises(InputError, match=message):
        find_function(place)
