import json
import math
import subprocess
import sys

import numpy as np
import pytest

from experiments.output import records
from experiments.output.text import small
from experiments.solve.solution import Solution

NASH = np.array([4, 3, 4]) / 11
JSON_KEYS = {
    "names",
    "policy",
    "log_policy",
    "beta",
    "exploitability",
    "exploitability_original",
    "duality_gap",
    "residual",
    "support",
    "algorithm",
    "steps",
    "queries",
    "condorcet_winner",
    "intransitive_triples",
    "kl_bound",
    "unique",
    "completeness",
}


TABLE = """\
game        game.csv: 3 actions, all pairs observed
majorities  1 of 1 strict triple intransitive, 0 tied pairs, no Condorcet winner
solution    unregularised (beta 0), solved by lp

  action    probability  exact
----------  -----------  -----
  rock         0.363636   4/11
  scissors     0.363636   4/11
  paper        0.272727   3/11

support         all actions
value           1/2
exploitability  EXPLOITABILITY
duality gap     GAP
certificate     exact rational certificate: max_a (P policy)_a = 1/2, unique
"""


def test_table(nlhf, game):
    done = nlhf("solve", game, "--beta", "0")
    assert (done.code, done.err) == (0, "")
    found = json.loads(nlhf("solve", game, "--beta", "0", "--json").out)
    expected = TABLE.replace("EXPLOITABILITY", small(found["exploitability"]))
    assert done.out == expected.replace("GAP", small(found["duality_gap"]))


def test_table_of_a_regularised_game(nlhf, game):
    out = nlhf("solve", game, "--beta", "0.5").out
    assert "beta 0.5, reference uniform, solved by newton in " in out
    assert "certificate     KL(policy || Nash) <= " in out
    assert "at beta 0       " in out
    assert "*" not in out  # all actions are in the support, so a mark would say nothing


def test_table_marks_the_support_and_cuts_long_games(nlhf, tmp_path):
    size = 40
    matrix = np.triu(np.ones((size, size)), 1) + 0.5 * np.eye(size)
    np.save(tmp_path / "order.npy", matrix)
    lines = nlhf("solve", tmp_path / "order.npy", "--beta", "0").out.splitlines()
    assert "Condorcet winner 0" in lines[1]
    assert sum(line.startswith("* ") for line in lines) == 1
    assert lines[6].split() == ["*", "0", "1.000000", "1"]
    assert "  ... and 20 more, together 0" in lines
    assert "support         1 action, marked *" in lines


def test_json_has_the_promised_keys(nlhf, game):
    done = nlhf("solve", game, "--json", "--beta", "0.1")
    found = json.loads(done.out)
    assert set(found) == JSON_KEYS
    assert done.out.count("\n") == 1
    assert found["names"] == ["rock", "paper", "scissors"]
    assert found["beta"] == 0.1
    assert found["algorithm"] == "newton"
    assert found["queries"] is None
    assert found["condorcet_winner"] is None
    assert found["intransitive_triples"] == 1
    assert found["duality_gap"] == 2 * found["exploitability"]
    assert found["support"] == found["names"]
    np.testing.assert_allclose(np.exp(found["log_policy"]), found["policy"], rtol=1e-15)
    assert found["residual"] < 1e-14
    preference = np.array([[0.5, 0.1, 0.8], [0.9, 0.5, 0.1], [0.2, 0.9, 0.5]])
    original = (preference @ found["policy"]).max() - 0.5
    assert found["exploitability_original"] == pytest.approx(original, abs=1e-15)


def test_json_has_no_token_that_is_not_json(nlhf, tmp_path):
    (tmp_path / "order.csv").write_text("0.5,1\n0,0.5\n")

    def refuse(token):
        raise AssertionError(token)

    found = json.loads(
        nlhf("solve", tmp_path / "order.csv", "--beta", "0", "--json").out, parse_constant=refuse
    )
    assert found["log_policy"] == [0.0, None]
    assert found["support"] == ["0"]
    assert found["condorcet_winner"] == "0"
    assert found["residual"] is None


@pytest.mark.parametrize(
    ("algorithm", "beta", "steps", "queries"),
    [
        ("online_mirror_descent", "0.3", 300, 300),
        ("nash_mirror_prox", "0.3", 100, 200),
        ("nash_prox", "0.3", 100, 800),
        ("egpo", "0.3", 100, 200),
        ("omwu", "0.3", 300, 300),
        ("egpo", "0", 2000, 4000),
    ],
)
def test_iterative_algorithms_agree_with_the_exact_ones(nlhf, game, algorithm, beta, steps, queries):
    found = json.loads(
        nlhf("solve", game, "--algorithm", algorithm, "--beta", beta, "--steps", steps, "--json").out
    )
    exact = json.loads(nlhf("solve", game, "--beta", beta, "--json").out)
    np.testing.assert_allclose(found["policy"], exact["policy"], atol=1e-9)
    assert (found["algorithm"], found["steps"], found["queries"]) == (algorithm, steps, queries)
    assert found["support"] == exact["support"]


def test_mpo_solves_the_unregularised_game(nlhf, game):
    done = nlhf("solve", game, "--algorithm", "mpo", "--json", "--steps", "100")
    assert (done.code, done.err, json.loads(done.out)["beta"]) == (0, "", 0.0)
    done = nlhf("solve", game, "--algorithm", "mpo", "--json", "--steps", "100", "--beta", "0.2")
    assert json.loads(done.out)["beta"] == 0.0
    assert done.err == (
        "nlhf: warning: mpo solves the unregularised game: beta = 0.2 is the weight of its magnet, and the "
        "result is that of beta 0\n"
    )


@pytest.mark.parametrize(("algorithm", "beta"), [("ipo_md", "0.3"), ("online_mirror_descent", "0")])
def test_what_does_not_converge_says_so(nlhf, game, algorithm, beta):
    done = nlhf("solve", game, "--algorithm", algorithm, "--beta", beta, "--steps", "10")
    assert done.code == 0
    assert done.err.startswith("nlhf: warning: ")


def test_default_beta_fits_the_algorithm(nlhf, game):
    assert json.loads(nlhf("solve", game, "--json").out)["beta"] == 0.1
    assert json.loads(nlhf("solve", game, "--json", "--algorithm", "lp").out)["beta"] == 0.0
    assert json.loads(nlhf("solve", game, "--json", "--beta", "0").out)["algorithm"] == "lp"


def test_reference_file(nlhf, game, tmp_path):
    (tmp_path / "reference.csv").write_text("name,probability\nscissors,0.7\nrock,0.2\npaper,0.1\n")
    words = ("solve", game, "--beta", "1000", "--json", "--reference", tmp_path / "reference.csv")
    np.testing.assert_allclose(json.loads(nlhf(*words).out)["policy"], [0.2, 0.1, 0.7], atol=1e-3)


def test_step_size_outside_the_proved_range_is_a_warning_that_names_it(nlhf, game):
    done = nlhf("solve", game, "--algorithm", "online_mirror_descent", "--beta", "0.5", "--step-size", "1.5")
    assert done.code == 0
    assert "value           1/2" in done.out
    (line,) = done.err.splitlines()
    assert line.startswith("nlhf: warning: step_size is 1.5, outside [0, 1], the range at beta = 0.5")


def test_options_without_effect_are_a_warning(nlhf, game):
    done = nlhf("solve", game, "--steps", "5", "--step-size", "0.5")
    assert done.code == 0
    assert [line.split()[2] for line in done.err.splitlines()] == ["--steps", "--step-size"]


def test_out_holds_table_and_result(nlhf, game, tmp_path):
    out = tmp_path / "made" / "for" / "this"
    done = nlhf("solve", game, "--beta", "0", "--out", out)
    assert sorted(path.name for path in out.iterdir()) == ["result.json", "table.txt"]
    assert (out / "table.txt").read_text() == done.out
    stored = records.loads((out / "result.json").read_text(), "result.json")
    assert stored["kind"] == "solve"
    assert stored["config"]["beta"] == 0.0
    assert len(stored["config"]["sha256"]["preferences"]) == 64
    assert stored["provenance"]["file"] == str(game)
    solution = records.decode(Solution, stored["result"])
    np.testing.assert_array_equal(solution.policy, NASH)
    assert solution.fractions == ("4/11", "3/11", "4/11")
    assert solution.unique is True
    assert solution.statistics.strict_triples == 1


def test_same_run_is_written_again_and_another_is_refused(nlhf, refused, game, tmp_path):
    out = tmp_path / "out"
    assert nlhf("solve", game, "--out", out, "--beta", "0").code == 0
    first = (out / "result.json").read_bytes()
    assert nlhf("solve", game, "--out", out, "--beta", "0", "--json").code == 0
    assert (out / "result.json").read_bytes() == first
    refused(
        "solve",
        game,
        "--out",
        out,
        "--beta",
        "0.5",
        says=[str(out), "algorithm = lp, now newton", "another --out"],
    )
    game.write_text(game.read_text().replace("0.9", "0.7").replace("0.1", "0.3"))
    refused(
        "solve", game, "--out", out, "--beta", "0", says=[str(out), "another run (sha256", "another --out"]
    )
    assert (out / "result.json").read_bytes() == first


MATRICES = {
    "not square": ("0.5,0.5,0.5\n0.5,0.5,0.5\n", ["2", "3"]),
    "a NaN": ("0.5,nan\n0.5,0.5\n", ["nan"]),
    "above 1": ("0.5,1.2\n-0.2,0.5\n", ["1.2", "[0, 1]"]),
    "not complementary": (",a,b\na,0.5,0.9\nb,0.9,0.5\n", ["[0, 1]", "'a' over 'b'", "1.8", "P + P^T = 1"]),
    "off by 1e-5": ("0.5,0.60001\n0.4,0.5\n", ["[0, 1]", "1.00001"]),
    "the diagonal": ("0.6,0.5\n0.5,0.5\n", ["[0, 0]", "0.6", "1/2"]),
    "truncated": (",a,b\na,0.5,0.9\nb,0.1", ["bad.csv:3"]),
    "one row": (",a,b\na,0.5,0.9\n", ["1"]),
    "empty": ("", ["is empty"]),
    "blank": ("\n\n", ["blank"]),
    "self pair": ("winner,loser\na,b\na,a\n", ["a", ":3"]),
    "not UTF-8": (b",\xff,b\n", ["byte 1 (0xff)", "UTF-8"]),
}


@pytest.mark.parametrize("case", MATRICES)
def test_bad_files_are_refused(refused, tmp_path, case):
    content, says = MATRICES[case]
    path = tmp_path / "bad.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    out = tmp_path / "out" / "run"
    refused("solve", path, "--out", out, says=[str(path), *says])
    assert not out.parent.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_float32_matrix_is_symmetrised_with_a_warning(nlhf, tmp_path):
    np.save(tmp_path / "game.npy", np.array([[0.5, 0.3000005], [0.7, 0.5]]))
    done = nlhf("solve", tmp_path / "game.npy", "--beta", "0")
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert line.startswith("nlhf: warning: ")
    assert "symmetrised" in line


def test_a_truncated_array_file_is_refused(refused, tmp_path):
    np.savez(tmp_path / "game.npz", P=np.full((30, 30), 0.5))
    content = (tmp_path / "game.npz").read_bytes()
    (tmp_path / "game.npz").write_bytes(content[: len(content) // 2])
    refused("solve", tmp_path / "game.npz", says=["game.npz", "fetch it again"])


def test_unknown_kind_missing_file_and_folder(refused, tmp_path):
    (tmp_path / "game.xlsx").write_text("0.5")
    refused("solve", tmp_path / "game.xlsx", says=[".xlsx", "not known", ".csv"])
    refused("solve", tmp_path / "absent.csv", says=["absent.csv", "no such file"])
    refused("solve", tmp_path, says=[str(tmp_path), "is a folder"])


def test_ten_million_lines_of_garbage_are_refused_at_the_first(refused, tmp_path):
    path = tmp_path / "garbage.csv"
    path.write_bytes(b"x z\n" * 10**7)
    refused("solve", path, "--out", tmp_path / "out", says=["garbage.csv:1"])
    path.unlink()
    assert list(tmp_path.iterdir()) == []


REFERENCES = {
    "zero mass": ("name,probability\nrock,0.5\npaper,0.5\nscissors,0\n", ["'scissors'", "is 0"]),
    "another length": ("0.5,0.5\n", ["2", "3 actions"]),
    "an unknown name": ("name,probability\nrock,0.5\nlizard,0.5\n", ["'lizard'"]),
    "another sum": ("0.5,0.5,0.5\n", ["1.5"]),
}


@pytest.mark.parametrize("case", REFERENCES)
def test_bad_references_are_refused(refused, game, tmp_path, case):
    content, says = REFERENCES[case]
    (tmp_path / "reference.csv").write_text(content)
    out = tmp_path / "out"
    refused(
        "solve", game, "--reference", tmp_path / "reference.csv", "--out", out, says=["reference.csv", *says]
    )
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--beta", "-0.1"), ["--beta is -0.1", ">= 0"]),
        (("--beta", "nan"), ["--beta is nan"]),
        (("--beta", "inf"), ["--beta is inf"]),
        (("--algorithm", "egpo", "--steps", "0"), ["--steps is 0", ">= 1"]),
        (("--steps", "-3"), ["--steps is -3"]),
        (("--algorithm", "egpo", "--step-size", "0"), ["--step-size is 0"]),
        (("--algorithm", "egpo", "--step-size", "nan"), ["--step-size is nan"]),
        (("--algorithm", "newton", "--beta", "0"), ["newton", "lp"]),
        (("--algorithm", "lp", "--beta", "0.1"), ["lp", "0.1", "newton"]),
        (("--algorithm", "nash_md", "--beta", "0"), ["beta is 0", "nash_md"]),
        (("--algorithm", "ipo_md", "--beta", "0"), ["beta is 0", "ipo_md"]),
        (("--algorithm", "egop"), ["'egop'", "did you mean egpo?", "newton", "nash_mirror_prox"]),
        (("--algorithm", "zzz"), ["'zzz'", "known are newton, lp, online_mirror_descent"]),
        (("--algorithm", "xpo"), ["xpo, which learns", "newton, lp"]),
        (("--beta", "1e-300"), ["--beta is 1e-300", "certified only", "give 0"]),
        (("--algorithm", "egpo", "--step-size", "1e14"), ["smaller --step-size"]),
        (("--prior", "-1"), ["prior is -1"]),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_bad_numbers_are_refused(nlhf, game, tmp_path, words, says):
    out = tmp_path / "out"
    done = nlhf("solve", game, *words, "--out", out)
    assert (done.code, done.out) == (2, "")
    *warned, line = done.err.splitlines()
    assert all(text.startswith("nlhf: warning: step_size is 1e+14") for text in warned)
    for text in ("nlhf: error: ", *says):
        assert text in line
    assert not out.exists()


def test_output_folders_that_cannot_be_used(refused, game, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "result.json").write_text('{"score": NaN}')
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "result.json").write_text('{"score": 1}')
    solve = ("solve", game, "--out")
    refused(*solve, tmp_path / "file", says=["file", "not a folder", "another --out"])
    refused(*solve, tmp_path / "file" / "in", says=["cannot be created"])
    refused(*solve, "/proc/nlhf/out", says=["/proc/nlhf/out", "cannot be created"])
    refused(*solve, "/proc", says=["/proc", "cannot be written"])
    refused(*solve, tmp_path / "nul\0", says=["nul"])
    refused(*solve, tmp_path / "foreign", says=["NaN"])
    refused(*solve, tmp_path / "other", says=["no 'kind'"])
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["result.json"]


def test_support_counts_actions_below_the_smallest_float(nlhf, tmp_path):
    (tmp_path / "order.csv").write_text("0.5,1\n0,0.5\n")
    found = json.loads(nlhf("solve", tmp_path / "order.csv", "--beta", "0.0005", "--json").out)
    assert found["policy"] == [1.0, 0.0]
    assert found["log_policy"][1] == pytest.approx(-1000, abs=1)
    assert found["support"] == ["0", "1"]


def test_a_built_in_game_is_solved_by_its_name(nlhf, refused, tmp_path, monkeypatch):
    found = json.loads(nlhf("solve", "biased-rock-paper-scissors", "--beta", "0", "--json").out)
    np.testing.assert_allclose(found["policy"], NASH, atol=1e-15)
    assert len(json.loads(nlhf("solve", "nash_md_table3", "--json").out)["names"]) > 3
    refused("solve", "rock_paper_scisors", says=["no such file", "did you mean rock_paper_scissors?"])
    monkeypatch.chdir(tmp_path)  # a file of that name is what is meant
    (tmp_path / "dice").write_text("0.5,1\n0,0.5\n")
    refused("solve", "dice", says=["dice"])


def test_names_may_be_written_with_dashes(nlhf, game):
    found = json.loads(nlhf("solve", game, "--algorithm", "nash-md", "--beta", "1", "--json").out)
    assert found["algorithm"] == "nash_md"


def test_a_fresh_process_works_in_float64(game):
    code = "import sys; from experiments.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["solve", str(game), "--algorithm", "egpo", "--beta", "0.3", "--json"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert json.loads(done.stdout)["exploitability"] < 1e-20
    assert math.fsum(json.loads(done.stdout)["policy"]) == pytest.approx(1, abs=1e-15)
