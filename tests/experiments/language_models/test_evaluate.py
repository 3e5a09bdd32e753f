"""Runs against each other and their reference: what is printed and written is what the policies do."""

import json
import pathlib
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lm_runs import CONFIG, command, data_settings, pairs, prompts, write_run

from experiments.commands import Evaluate
from experiments.language_models import evaluate, train
from experiments.language_models.train_data import load_data
from experiments.output import records
from nlhf.errors import InputError
from nlhf.transformer.model import decoder
from nlhf.transformer.weights.export import save_model
from nlhf.transformer.weights.load import load_model

CIRCLE = "python:letters:circle"


def circle(asked):
    """Of the texts' first letters, a beats b beats c beats a, and each of them all others."""

    def share(first, second):
        first, second = (text.strip()[:1] or "?" for text in (first, second))
        known = [each in "abc" for each in (first, second)]
        if first == second or not any(known):
            return 0.5
        if not all(known):
            return float(known[0])
        return float(first + second in ("ab", "bc", "ca"))

    return [share(pair.first, pair.second) for pair in asked]


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    module = types.ModuleType("letters")
    module.circle = circle
    monkeypatch.setitem(sys.modules, "letters", module)


def leaning(params, letter):
    """The model, but for one byte that nearly always comes: a direction that all states have in common."""
    embedding = params["embedding"].at[:, 0].add(10.0)
    return {**params, "embedding": embedding.at[ord(letter), 0].add(4.0)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base, a run that has not moved from it, and one for each letter."""
    folder = tmp_path_factory.mktemp("evaluate")
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), CONFIG))  # compiles nothing
    base = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(
            np.ones(leaf.shape)
            if "norm" in jax.tree_util.keystr(path)
            else 0.02 * random.normal(size=leaf.shape),
            leaf.dtype,
        ),
        shapes,
    )
    save_model(folder / "base", base, CONFIG, begin=256, end=257)
    prompts(folder / "prompts.jsonl", 20)
    pairs(folder / "pairs.jsonl", 20)
    params, _ = load_model(folder / "base")
    write_run(folder / "still", folder, params)
    for letter in "abc":
        write_run(folder / letter, folder, leaning(params, letter))
    return folder


def test_policies_that_beat_each_other_in_a_circle(nlhf, place):
    """The planted population through the whole command: who wins, the Nash, KL, and what is written."""
    runs = [place / name for name in ("still", "a", "b", "c")]
    words = ("--judge", CIRCLE, "--prompts", 4, "--resamples", 200)
    done = nlhf("evaluate", *runs, *words, "--json", "--out", place / "out")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["names"] == ["reference", "still", "a", "b", "c"]
    matrix = np.array(found["matrix"])
    np.testing.assert_allclose(matrix + matrix.T, 1, atol=1e-12)
    a, b, c = 2, 3, 4
    assert min(matrix[a, b], matrix[b, c], matrix[c, a]) > 0.9
    assert matrix[2:, :2].min() > 0.9  # each letter beats the reference
    assert found["low"][0][1] <= 0.5 <= found["high"][0][1]  # the run that has not moved does not
    np.testing.assert_allclose(found["nash"], [0, 0, 1 / 3, 1 / 3, 1 / 3], atol=0.06)
    assert abs(found["kl"]["still"]) < 1e-4
    # six letters where the reference has 258 nearly equal bytes
    np.testing.assert_allclose([found["kl"][each] for each in "abc"], 6 * np.log(258), rtol=0.2)
    assert found["tokens"]["a"] > 5.5
    assert (found["prompts"], found["responses"], found["trained_on"]) == (4, 4, {})
    assert sorted(path.name for path in (place / "out").iterdir()) == [
        "result.json",
        "table.txt",
        "win_rates.png",
    ]
    stored = records.loads((place / "out" / "result.json").read_text(), "result.json")
    assert stored["kind"] == "evaluate"
    result = records.decode(evaluate.Result, stored["result"], "result")
    assert result.win_rates.matrix == found["matrix"]
    assert (place / "out" / "table.txt").read_text() == evaluate.table(result)
    refused = nlhf("evaluate", *runs[:2], *words, "--out", place / "out")
    assert refused.code == 2
    assert "another run" in refused.err


def test_the_table_is_the_same_for_the_same_draws(nlhf, place):
    words = ("evaluate", place / "a", "--judge", CIRCLE, "--resamples", 50)
    first, second = nlhf(*words), nlhf(*words)
    assert first.out == second.out
    assert "4 held-out prompts, 4 responses" in first.out
    assert "held out 4 prompts, fewer than --prompts 64" in first.err
    fewer = nlhf(*words, "--prompts", 4)
    assert fewer.out == first.out
    assert fewer.err == ""


def test_prompts_that_another_run_trained_on_are_told(nlhf, place):
    """Another seed holds out other prompts, so the first run's are among those that it trained on."""
    if not (place / "other").exists():
        params, _ = load_model(place / "base")
        write_run(place / "other", place, leaning(params, "a"), seed=1)
    base = evaluate._load([place / "a"])[1]
    ours, theirs = (load_data(data_settings(command(place, seed=seed)), base) for seed in (0, 1))
    common = sum(any((row == each).all() for each in theirs.train) for row in ours.held_out)
    assert 0 < common <= 4
    done = nlhf("evaluate", place / "a", place / "other", "--judge", CIRCLE, "--resamples", 9, "--json")
    assert json.loads(done.out)["trained_on"] == {"other": common}
    assert f"trained on {common} of the 4 prompts" in done.err


def test_what_cannot_be_evaluated_is_refused(refused, place):
    params, _ = load_model(place / "base")
    weights = {**params, "final_norm": 2 * params["final_norm"]}
    save_model(place / "other_base", weights, load_model(place / "base")[1], begin=256, end=257)
    write_run(place / "foreign", place, weights, model=place / "other_base")
    write_run(place / "labels", place, params, judge="data", data=place / "pairs.jsonl")
    refused("evaluate", place / "a", place / "foreign", "--judge", CIRCLE, says=["foreign", "other weights"])
    refused("evaluate", place / "labels", says=["learned from labels", "--judge"])
    refused("evaluate", place / "a", place / "a", says=["named twice"])
    refused("evaluate", place / "base", says=["run.json", "nlhf train"])
    refused("evaluate", place / "a", "--prompts", "0", says=["--prompts", "0"])
    refused("evaluate", place / "a", "--judge", "population:beauty", says=["beauty", "sentiment"])
    with pytest.raises(InputError, match="no run to evaluate"):
        evaluate.check(Evaluate(()))


def test_a_name_is_what_tells_a_run_apart():
    paths = [pathlib.Path(each) for each in ("/x/y/0", "/x/z/0", "/y/z/0")]
    assert evaluate.name_runs(paths[:2]) == ["y/0", "z/0"]
    assert evaluate.name_runs(paths) == ["run 1", "run 2", "run 3"]
    assert evaluate.name_runs([pathlib.Path("/x/reference")]) == ["x/reference"]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"lora": 2}, {"algorithm": "xpo"}], ids=str)
def test_runs_that_were_trained(nlhf, place, changes):
    out = place / f"trained{len(changes)}{''.join(changes)}"
    assert train.main(command(place, **changes, out=out)) == 0
    done = nlhf("evaluate", out, "--responses", 2, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["judge"].startswith("population:")
    assert found["kl"][out.name] != 0
