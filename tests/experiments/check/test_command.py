import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from experiments.check import algorithms_page as page
from experiments.check import command as check
from experiments.check import store as check_store
from experiments.check.errors import unknown_claim
from proofs_checks import ledger, report
from proofs_checks.rows import Check, Effort, Outcome

ROOT = pathlib.Path(check.__file__).parents[2]


class Rows:
    """A small collection whose rows count how often they are judged."""

    def __init__(self):
        self.judged = []
        self.worst = {"egpo.kl": 0.5, "egpo.half_kl": 0.25, "omwu.kl": 0.75, "game.printed": 3.0}
        self.control = {"game.printed": 0.5}
        self.interrupt = None

    def checks(self):
        made = [self.make(name) for name in self.worst]
        return (*made, self.make("mpo.linear", judged=False))

    def make(self, name, judged=True):
        def judge(effort):
            if name == self.interrupt:
                raise KeyboardInterrupt
            self.judged.append(name)
            control = self.control.get(name, 2.0)
            return Outcome(
                10 if effort.quick else 100, self.worst[name], "a wrong sign", control, witness={"actions": 3}
            )

        return Check(
            name=name,
            subject=name.split(".")[0],
            kind="claim" if judged else "unchecked",
            source="here",
            status="derived",
            statement=f"what {name} says",
            assumptions="none",
            judge=judge if judged else None,
            refuted=name == "game.printed",
            reason="" if judged else "nobody can",
        )


@pytest.fixture
def rows(monkeypatch, tmp_path):
    """The collection in place of the real one; the working folder is tmp_path."""
    fake = Rows()
    monkeypatch.setattr(ledger, "collect", fake.checks)
    monkeypatch.setattr(ledger, "EVIDENCE", ())
    monkeypatch.chdir(tmp_path)
    return fake


def stored(folder):
    return json.loads((folder / "ledger.json").read_text(encoding="utf-8"))


def test_a_run_prints_a_line_a_row_and_writes_the_ledger(nlhf, rows, tmp_path):
    done = nlhf("check")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["verdict", "instances", "worst", "control", "seconds"]
    assert lines[2].split()[:5] == ["egpo.kl", "holds", "10", "0.5", "2"]
    assert lines[5].split()[:3] == ["game.printed", "refuted", "10"]
    assert lines[6].split() == ["mpo.linear", "unchecked"]
    assert lines[7].startswith("5 rows: 3 hold, 1 refuted as known, 1 not numerically checkable; ")
    assert lines[7].endswith(" of them compiling")
    assert "nlhf: 5 of 5: mpo.linear" in done.err
    folder = tmp_path / "results" / "check-quick"
    assert f"wrote ledger.json and LEDGER.md to {folder.relative_to(tmp_path)}" in done.err
    found = stored(folder)
    assert (found["effort"], found["seed"], found["part"]) == ("quick", 0, False)
    assert [row["name"] for row in found["rows"]] == [check.name for check in rows.checks()]
    assert found["provenance"]["versions"]["jax"] == jax.__version__
    assert all(row["date"].startswith("20") for row in found["rows"])
    assert (folder / "LEDGER.md").read_text(encoding="utf-8") == report.render(found)
    assert sorted(path.name for path in folder.iterdir()) == [".check", "LEDGER.md", "ledger.json"]


@pytest.mark.parametrize(
    ("worst", "control", "says"),
    [
        ({"egpo.kl": 1.5}, {}, "egpo.kl (fails)"),
        ({"egpo.kl": float("nan")}, {}, "egpo.kl (fails)"),
        ({}, {"egpo.kl": 0.9}, "egpo.kl (holds)"),  # the control passes: no evidence
        ({"game.printed": 0.5}, {}, "game.printed (holds)"),  # a refuted statement without counterexample
    ],
)
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_row_that_is_not_as_expected_ends_with_1(nlhf, rows, tmp_path, worst, control, says, words):
    rows.worst |= worst
    rows.control |= control
    done = nlhf("check", *words)
    assert done.code == 1
    assert done.err.splitlines()[-1] == f"nlhf: error: 1 of 5 rows not as expected: {says}"
    assert "UNEXPECTED" in done.out or words
    # written all the same, and honestly
    found = stored(tmp_path / "results" / "check-quick")
    assert len(ledger.unexpected(found["rows"])) == 1
    assert "NOT AS EXPECTED" in (tmp_path / "results" / "check-quick" / "LEDGER.md").read_text(
        encoding="utf-8"
    )


def test_an_interrupted_run_goes_on_where_it_was(nlhf, rows, tmp_path):
    rows.interrupt = "omwu.kl"
    done = nlhf("check", "--full", "--out", "a")
    assert done.code == 130
    assert rows.judged == ["egpo.kl", "egpo.half_kl"]
    assert not (tmp_path / "a" / "ledger.json").exists()
    rows.interrupt = None
    done = nlhf("check", "--full", "--out", "a")
    assert done.code == 0
    assert rows.judged == ["egpo.kl", "egpo.half_kl", "omwu.kl", "game.printed"]
    assert done.out.splitlines()[-1].endswith("; 2 of 5 entries were judged before")
    assert "nlhf: 1 of 5: egpo.kl, as judged before" in done.err
    assert (
        nlhf("check", "--full", "--out", "a")
        .out.splitlines()[-1]
        .endswith("; 5 of 5 entries were judged before")
    )
    assert len(rows.judged) == 4


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    """A real process, killed while it judges: what was finished is not judged again."""
    code = """
import os, signal, sys
from proofs_checks import ledger
from proofs_checks.rows import Check, Outcome
def make(name):
    def judge(effort):
        print("judging", name, file=sys.stderr, flush=True)
        if name == "c.c" and "die" in sys.argv:
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome(1, 0.5, "wrong", 2.0)
    return Check(name, "game", "lemma", "here", "derived", "says", "none", judge)
ledger.collect = lambda: tuple(make(name) for name in ("a.a", "b.b", "c.c"))
ledger.EVIDENCE = ()
from experiments.cli import main
sys.exit(main(["check", "--out", "out"]))
"""
    first = subprocess.run(
        [sys.executable, "-c", code, "die"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert first.returncode == -9
    second = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert second.returncode == 0, second.stderr
    assert [line for line in second.stderr.splitlines() if "judging" in line] == ["judging c.c"]
    assert len(stored(tmp_path / "out")["rows"]) == 3


@pytest.mark.parametrize("change", ["seed", "effort", "sources", "damage"])
def test_what_was_decided_otherwise_is_judged_again(nlhf, rows, tmp_path, monkeypatch, change):
    assert nlhf("check", "--out", "a").code == 0
    words = []
    if change == "seed":
        words = ["--seed", "1"]
    elif change == "effort":
        words = ["--full"]
    elif change == "sources":
        monkeypatch.setattr(check_store, "fingerprint", lambda: "another")
    else:
        for path in (tmp_path / "a" / ".check").iterdir():
            path.write_text(path.read_text()[:-5])
    assert nlhf("check", "--out", "a", *words).code == 0
    assert len(rows.judged) == 8


def test_the_fingerprint_is_that_of_the_sources(monkeypatch):
    mine = check_store.fingerprint()
    assert mine == check_store.fingerprint()
    monkeypatch.setattr(check_store, "LAYOUT", ())
    assert mine != check_store.fingerprint()
    monkeypatch.undo()
    monkeypatch.setattr(check_store, "VERSIONS", ("jax",))
    assert mine != check_store.fingerprint()


def test_json_is_one_object(nlhf, rows):
    done = nlhf("check", "--json")
    assert done.code == 0
    assert done.out.count("\n") == 1
    found = json.loads(done.out)
    assert [row["verdict"] for row in found["rows"]][-2:] == ["fails", "not numerically checkable"]


def test_filters_judge_and_write_only_where_told(nlhf, rows, tmp_path):
    done = nlhf("check", "--algorithm", "egpo")
    assert done.code == 0
    assert rows.judged == ["egpo.kl", "egpo.half_kl"]
    assert nlhf("check", "--claim", "omwu.kl").code == 0
    assert list(tmp_path.iterdir()) == []
    assert nlhf("check", "--algorithm", "egpo", "--claim", "egpo.kl", "--out", "part").code == 0
    found = stored(tmp_path / "part")
    assert found["part"]
    assert [row["name"] for row in found["rows"]] == ["egpo.kl"]
    assert nlhf("check", "--claim", "omwu.kl", "--out", "part").code == 0  # a part may replace a part


def test_a_lesser_run_does_not_replace_a_ledger(nlhf, refused, rows, tmp_path):
    assert nlhf("check", "--full", "--out", "a").code == 0
    before = (tmp_path / "a" / "ledger.json").read_bytes()
    judged = len(rows.judged)
    refused("check", "--out", "a", says=["a full ledger", "--full", "--out"])
    refused("check", "--full", "--claim", "egpo.kl", "--out", "a", says=["a whole ledger", "--out"])
    assert (tmp_path / "a" / "ledger.json").read_bytes() == before
    assert len(rows.judged) == judged


@pytest.mark.parametrize(
    ("name", "content"),
    [("ledger.json", "{"), ("ledger.json", '{"accounts": []}'), ("LEDGER.md", "# my accounts")],
)
def test_a_foreign_file_is_not_replaced(refused, rows, tmp_path, name, content):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).write_text(content)
    refused("check", "--out", "a", says=[name])
    assert (tmp_path / "a" / name).read_text() == content
    assert rows.judged == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--algorithm", "egop"), ["'egop' is not an algorithm", "did you mean egpo?"]),
        (("--claim", "egpo.lk"), ["'egpo.lk' is not a claim", "egpo.kl"]),
        (("--claim", "egpo.kl", "--algorithm", "omwu"), ["is about egpo, not about omwu"]),
        (("--quick", "--full"), ["--quick and --full", "leave one out"]),
        (("--seed", "-1"), ["--seed is -1"]),
        (("--beta", "0.1"), ["--beta", "--game"]),
        (("--step-size", "1"), ["--step-size", "--game"]),
    ],
)
@pytest.mark.parametrize("out", [(), ("--out", "a")])
def test_bad_arguments_are_refused_and_leave_nothing(refused, rows, tmp_path, words, says, out):
    refused("check", *words, *out, says=says)
    assert list(tmp_path.iterdir()) == []
    assert rows.judged == []


def test_a_folder_in_use_is_refused(nlhf, rows, tmp_path):
    from experiments.output.result_folder import claim

    with claim(tmp_path / "a"):
        done = nlhf("check", "--out", "a")
    assert done.code == 3
    assert "in use" in done.err


def test_an_arithmetic_failure_names_its_row(nlhf, rows, monkeypatch):
    def fail(effort):
        raise ArithmeticError("no equilibrium")

    broken = Check("game.broken", "game", "lemma", "here", "derived", "says", "none", fail)
    monkeypatch.setattr(ledger, "collect", lambda: (broken,))
    done = nlhf("check")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "nlhf: error: game.broken: no equilibrium"


def test_compilation_is_counted():
    with check.compiling() as seconds:
        before = seconds()
        jax.jit(lambda x: jnp.sin(x) * 3.25)(1.5)
        after = seconds()
    assert before == 0
    assert after > 0
    jax.jit(lambda x: jnp.sin(x) * 4.25)(1.5)
    assert seconds() == after


def test_a_real_claim_end_to_end(nlhf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = nlhf("check", "--claim", "game.two_actions", "--json")
    assert done.code == 0
    (row,) = json.loads(done.out)["rows"]
    assert row["verdict"] == "holds"
    assert row["worst"] <= row["limit"] < row["control_worst"]


@pytest.mark.parametrize(
    ("section", "found", "says"),
    [
        (
            "certificates",
            {"proved": 0, "refuted": 20, "undecided": 0, "worst": 2.0, "bits": 256},
            "refuted on 20",
        ),
        (
            "tightness",
            {"best": 7.5, "searches": 3, "by_actions": [], "instance": None},
            "reaches measured/bound 7.5",
        ),
        (
            "breaking",
            {
                "claim": "egpo.kl",
                "points": [
                    {
                        "actions": 3,
                        "beta": 0.1,
                        "proved_to": 2.0,
                        "holds_to": 0.5,
                        "violated_from": 1.0,
                        "worst": 1.5,
                        "grid": [[0.5, 0.9], [1.0, 1.5]],
                    }
                ],
                "instances": [],
            },
            "egpo.kl: violated in its range with 3 actions",
        ),
    ],
)
def test_evidence_against_a_claim_fails_the_run(nlhf, rows, monkeypatch, section, found, says):
    monkeypatch.setattr(ledger, "EVIDENCE", ((section, ("egpo.kl",), lambda name, effort: found),))
    done = nlhf("check", "--full")
    assert done.code == 1
    assert says in done.err


def test_an_edited_entry_is_judged_again(nlhf, rows, tmp_path):
    assert nlhf("check", "--out", "a").code == 0
    path = tmp_path / "a" / ".check" / "rows.egpo.kl.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"worst": 0.5', '"worst": 0.4'), encoding="utf-8"
    )
    rows.judged.clear()
    assert nlhf("check", "--out", "a").code == 0
    assert rows.judged == ["egpo.kl"]


def test_near_matches_ignore_case_and_find_parts():
    names = ["egpo.kl", "omwu.kl", "game.skew"]
    assert "egpo.kl" in unknown_claim("EGPO.KL", names)
    assert "game.skew" in unknown_claim("skew", names)


def test_the_page_of_algorithms_is_refreshed_beside_its_folder(nlhf, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "ALGORITHM_NAMES", ("egpo",))
    readme = tmp_path / "experiments" / "docs" / "algorithms.md"
    readme.parent.mkdir(parents=True)
    readme.write_text(f"above\n{page.BEGIN}\nold\n{page.END}\nbelow\n", encoding="utf-8")
    before = readme.read_bytes()
    # a quick ledger, one in another folder, and one with a failed row are not what the page shows
    assert nlhf("check", "--out", "proofs_checks").code == 0
    assert nlhf("check", "--full", "--out", "referee").code == 0
    rows.worst["omwu.kl"] = 7.0
    assert nlhf("check", "--full", "--seed", "1", "--out", "proofs_checks").code == 1
    assert readme.read_bytes() == before
    rows.worst["omwu.kl"] = 0.75
    done = nlhf("check", "--full", "--out", "proofs_checks")
    assert done.code == 0
    assert f"the tables in {readme} are up to date" in done.err
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"above\n{page.BEGIN}\n| name |")
    assert text.endswith(f"|\n{page.END}\nbelow\n")
    assert "old" not in text
    before = readme.read_bytes()
    assert nlhf("check", "--claim", "egpo.kl", "--out", "part").code == 0
    assert readme.read_bytes() == before


def test_a_ledger_is_written_by_lines(rows):
    values = {("rows", "a"): {"x": float("1e-300")}, ("rows", "b"): {"x": 1 / 3}}
    made = ledger.assemble(Effort(), {"versions": {}}, values)
    text = check.dumps(made)
    assert json.loads(text) == json.loads(json.dumps(made))
    assert '{"x": 0.3333333333333333}' in text.splitlines()
