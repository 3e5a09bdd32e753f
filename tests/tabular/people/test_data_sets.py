import gzip
import json

import numpy as np
import pytest

from nlhf.errors import InputError
from tabular.game_statistics import statistics
from tabular.people import data_sets as human_data
from tabular.people.vote_cells import cells_of, count, locate, places, tables

HEADER = "id,prompt,model_x,model_y,worker,winner,left,right\n"


def check(votes):
    size = len(votes.label)
    for column in (votes.first, votes.second, votes.prompt, votes.voter, votes.unit, votes.cluster):
        assert column.shape == (size,)
    assert votes.prompt.min() == min(votes.first.min(), votes.second.min()) == 0
    assert set(votes.label) <= {0.0, 0.5, 1.0}
    assert (votes.first != votes.second).all()
    assert len(np.unique(votes.prompt)) == votes.num_prompts
    assert max(votes.first.max(), votes.second.max()) < len(votes.answers)
    # whoever is held out together is in one cluster and one stratum
    for coarse in (votes.cluster, votes.stratum):
        assert len(np.unique(np.stack([votes.unit, coarse]), axis=1).T) == len(np.unique(votes.unit))


def majorities(votes):
    cells = cells_of(votes.prompt, votes.first, votes.second)
    counts = count(*locate(cells, votes.prompt, votes.first, votes.second), votes.label, len(cells.prompt))
    return tables(cells, places(cells), np.sign(2 * counts.wins - counts.total)) / 2 + 0.5


def test_hanna_is_what_its_readme_says(shared):
    votes = human_data.read_hanna(shared / "data/hanna/ratings.npz")
    check(votes)
    assert len(votes.label) == 56 * 55 * 18
    assert votes.num_prompts == 56
    assert len(np.unique(votes.unit)) == 56 * 3
    assert votes.answers[0] == "Human"
    raw = np.load(shared / "data/hanna/ratings.npz")["human"].astype(int)
    row = np.flatnonzero((votes.prompt == 7) & (votes.first == 2) & (votes.second == 9))
    wins = (raw[7, 2] > raw[7, 9]) + 0.5 * (raw[7, 2] == raw[7, 9])
    np.testing.assert_array_equal(votes.label[row], wins.ravel())


def test_hanna_without_people_has_cycles_for_some_prompts_and_none_on_average(shared):
    votes = human_data.read_hanna(shared / "data/hanna/ratings.npz", without=("Human",))
    check(votes)
    assert len(votes.label) == 56 * 45 * 18
    assert "Human" not in votes.answers
    found = [statistics(table) for table in majorities(votes)]
    # over all 96 prompts 42 have a cyclic triple and 10 no Condorcet winner
    assert 15 < sum(one.intransitive_triples > 0 for one in found) < 35
    assert statistics(majorities(votes._replace(prompt=0 * votes.prompt))[0]).intransitive_triples == 0


def test_llmfao_is_what_its_readme_says(shared):
    votes = human_data.read_llmfao(shared / "data/llmfao/crowd_comparisons.csv.gz")
    check(votes)
    assert (len(votes.label), votes.num_prompts, len(votes.answers)) == (8931, 13, 59)
    assert len(np.unique(votes.unit)) == 124
    assert round(votes.tie_share, 2) == 0.39
    assert (np.sum(votes.label == 1), np.sum(votes.label == 0)) == (2911, 2549)
    facts = statistics(majorities(votes._replace(prompt=0 * votes.prompt))[0])
    assert round(100 * facts.cyclic_share, 1) == 9.7


def test_qa_feedback_is_what_its_readme_says(shared):
    votes = human_data.read_qa_feedback(shared / "data/qa_feedback/qa_feedback.jsonl.gz")
    check(votes)
    assert (len(votes.label), votes.num_prompts, len(votes.answers)) == (350 * 6, 350, 1400)
    assert abs(votes.tie_share - 0.128) < 0.01  # of 500 questions, of which 350 are here
    found = [statistics(table) for table in majorities(votes)]
    assert not any(one.intransitive_triples for one in found)


def test_hh_is_what_its_readme_says(shared):
    votes = human_data.read_hh(shared / "data/hh_harmless/pairs.jsonl.gz")
    check(votes)
    assert (len(votes.label), votes.num_prompts) == (1512, 1512)
    with gzip.open(shared / "data/hh_harmless/pairs.jsonl.gz", "rt", encoding="utf-8") as file:
        raw = [json.loads(line) for line in file]
    for vote in (0, 700, 1511):
        chosen = raw[vote]["chosen"].split("\n\nAssistant:")[-1].strip()
        assert votes.answers[votes.first[vote]] == chosen
        assert raw[vote]["rejected"].endswith(votes.answers[votes.second[vote]])
    assert not any("\n\nAssistant:" in text for text in votes.answers)


def hanna(tmp_path, **arrays):
    arrays = {"human": np.full((2, 3, 2, 1), 3, np.int8), "systems": np.array(["a", "b", "c"]), **arrays}
    path = tmp_path / "ratings.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_equal_ratings_are_ties(tmp_path):
    votes = human_data.read_hanna(hanna(tmp_path))
    assert votes.tie_share == 1
    assert len(votes.label) == 2 * 3 * 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"systems": None}, "has no array 'systems'"),
        ({"human": np.ones((2, 3, 2), np.int8)}, "human has the shape"),
        ({"human": np.ones((2, 3, 2, 1))}, "the type float64"),
        ({"systems": np.array(["a"])}, "but human rates 3 systems"),
        ({"human": np.zeros((2, 3, 2, 1), np.int8)}, r"human\[0, 0, 0, 0\] is 0, but a rating is in 1..5"),
    ],
)
def test_broken_ratings_are_refused(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message):
        human_data.read_hanna(hanna(tmp_path, **arrays))


def test_systems_that_cannot_be_left_out(tmp_path):
    with pytest.raises(InputError, match="has no system 'Human'"):
        human_data.read_hanna(hanna(tmp_path), without=("Human",))
    with pytest.raises(InputError, match="1 systems are left"):
        human_data.read_hanna(hanna(tmp_path), without=("a", "b"))


@pytest.mark.parametrize("read", [human_data.read_hanna, human_data.read_llmfao, human_data.read_hh])
def test_missing_and_damaged_files_are_refused(tmp_path, read, shared):
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.csv")
    real = {"read_hanna": "hanna/ratings.npz", "read_llmfao": "llmfao/crowd_comparisons.csv.gz"}
    source = shared / "data" / real.get(read.__name__, "hh_harmless/pairs.jsonl.gz")
    cut = tmp_path / source.name
    cut.write_bytes(source.read_bytes()[:5000])
    with pytest.raises(InputError, match=source.name):
        read(cut)


def test_a_tie_and_both_sides_are_read(tmp_path):
    path = tmp_path / "votes.csv"
    path.write_text(HEADER + '0,8,1,2,ann,tie,"B, 7b",A\n1,9,1,2,ben,left,A,C\n2,8,1,2,ann,right,A,"B, 7b"\n')
    votes = human_data.read_llmfao(path)
    check(votes)
    assert votes.answers == ("A", "B, 7b", "C")
    np.testing.assert_array_equal(votes.label, [0.5, 1.0, 0.0])
    np.testing.assert_array_equal(votes.first, [1, 0, 0])
    np.testing.assert_array_equal(votes.unit, [0, 1, 0])
    np.testing.assert_array_equal(votes.prompt, [0, 1, 0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,prompt,worker,left,right\n", "has no column 'winner'"),
        (HEADER, "a header, but no votes"),
        (HEADER + "0,8,1,2,5,both,A,B\n", ":2: the winner is 'both'"),
        (HEADER + "0,8,1,2,5,tie,A,A\n", ":2: 'A' stands on both sides"),
        (HEADER + "0,8,1,2,5,tie,A\n", ":2: has 7 cells, but the header 8"),
        (HEADER + '0,8,1,2,5,tie,"A,B\n', ":2: is no row of a CSV file"),
    ],
)
def test_broken_votes_are_refused(tmp_path, text, message):
    path = tmp_path / "votes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        human_data.read_llmfao(path)


QUESTION = {"question": "Why?", "responses": ["a", "b", "c"], "pairs": [[0, 1], [2, 0]], "winner": [2, 0]}


def test_questions_are_read(tmp_path):
    path = tmp_path / "q.jsonl.gz"
    path.write_bytes(gzip.compress((json.dumps(QUESTION) + "\n" + json.dumps(QUESTION)).encode()))
    votes = human_data.read_qa_feedback(path)
    check(votes)
    np.testing.assert_array_equal(votes.first, [0, 2, 3, 5])
    np.testing.assert_array_equal(votes.label, [0, 0.5, 0, 0.5])
    assert votes.answers == ("a", "b", "c") * 2
    assert votes.questions == ("Why?", "Why?")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"winner": [2]}, "zip"),
        ({"winner": [2, 3]}, "the winner 3 is not 0, 1 or 2"),
        ({"winner": [2, True]}, "the winner True"),
        ({"pairs": [[0, 1], [0, 3]]}, "names no response"),
        ({"pairs": [[0, 1], [0, -1]]}, "names no response"),
        ({"pairs": [[0, 1], [1, 1]]}, "two different numbers"),
        ({"responses": ["a", "b", 3]}, "are texts"),
        ({"pairs": None}, ":1: is no record of qa_feedback"),
    ],
)
def test_broken_questions_are_refused(tmp_path, change, message):
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({**QUESTION, **change}))
    with pytest.raises(InputError, match=message):
        human_data.read_qa_feedback(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"chosen": "\\n\\nHuman: hi\\n\\nAssistant: no"}', "no field 'rejected'"),
        ('{"chosen": "yes", "rejected": "no"}', "an assistant's turn"),
        ("[1]", ":1: is no record of HH harmless"),
        ("{", ":1: is no record of HH harmless"),
        ('{"winner": [], "pairs": [], "responses": [], "question": ""}', "no field 'chosen'"),
    ],
)
def test_broken_dialogues_are_refused(tmp_path, line, message):
    path = tmp_path / "pairs.jsonl"
    path.write_text(line)
    with pytest.raises(InputError, match=message):
        human_data.read_hh(path)


def test_a_file_without_a_vote_is_refused(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({**QUESTION, "pairs": [], "winner": []}))
    with pytest.raises(InputError, match="holds no votes"):
        human_data.read_qa_feedback(path)
