"""What a run started from is pinned: weights, rows and judge; what says so in a folder may be anything."""

import functools
import json
import os
import signal
import types

import jax
import numpy as np
import pytest
from lm_runs import CONFIG, add_checkpoint, command, make_base, pairs, prompts, write_run
from tokenizers import Tokenizer, models, pre_tokenizers

from experiments.language_models import sample as sample_text
from experiments.language_models import source, train
from experiments.language_models.source import PolicyPart, load_policy, load_reference, read_run
from nlhf.errors import InputError
from nlhf.policies import Trained
from nlhf.transformer.judges import reward_model
from nlhf.transformer.runs import preference
from nlhf.transformer.runs import pretrain as pretraining
from nlhf.transformer.runs.preference import TrainState
from nlhf.transformer.weights.export import save_model
from nlhf.transformer.weights.load import load_model


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Commands that begin a run, but make no step."""
    make_base(tmp_path / "base")
    prompts(tmp_path / "prompts.jsonl")
    pairs(tmp_path / "pairs.jsonl")
    ended = types.SimpleNamespace(code=0, step=2)
    monkeypatch.setattr(preference, "run_steps", lambda *arguments, **options: ended)
    return tmp_path


def shifted(params):
    return {**params, "final_norm": 2 * params["final_norm"]}


def change_base(place):
    params, config = load_model(place / "base")
    for path in (place / "base").iterdir():
        path.unlink()
    save_model(place / "base", shifted(params), config, begin=256, end=257)


def test_a_run_goes_on_with_what_it_began_with_only(place):
    assert train.main(command(place)) == 0
    assert train.main(command(place)) == 0
    prompts(place / "prompts.jsonl", 13)
    with pytest.raises(InputError, match="the rows changed; put back"):
        train.main(command(place))
    change_base(place)
    with pytest.raises(InputError, match="the weights of the base model and the rows changed"):
        train.main(command(place))
    record = read_run(place / "run")
    del record["content"]  # of a version that did not keep it
    (place / "run" / "run.json").write_text(json.dumps(record))
    assert train.main(command(place)) == 0


def test_a_pretraining_that_was_stopped_resumes(tmp_path, monkeypatch):
    monkeypatch.setitem(source.PRETRAINING, "tiny", (3, 2))
    monkeypatch.setattr(source, "STORIES", 8)
    monkeypatch.setattr(source, "REPORT_EVERY", 0.0)
    monkeypatch.setattr(pretraining, "run_steps", functools.partial(pretraining.run_steps, save_every=1))

    def load(folder, say):
        return source.load_base("tiny", None, say, folder=folder)

    def stops(line):
        said.append(line)
        if "step 2 of 3" in line:
            os.kill(os.getpid(), signal.SIGTERM)

    said = []
    whole = load(tmp_path / "whole", said.append)
    assert any("pretraining: step 2 of 3" in line and "s left" in line for line in said)
    with pytest.raises(SystemExit) as stopped:
        load(tmp_path / "parts", stops)
    assert stopped.value.code == 143
    with pytest.raises(InputError, match="is a run that has made no step yet; wait"):
        source.load_base(None, tmp_path / "parts", print)
    monkeypatch.setitem(source.PRETRAINING, "tiny", (4, 2))
    with pytest.raises(InputError, match=r"other settings.*num_steps"):  # its schedule ends elsewhere
        load(tmp_path / "parts", print)
    monkeypatch.setitem(source.PRETRAINING, "tiny", (3, 2))
    said.clear()
    parts = load(tmp_path / "parts", said.append)
    assert "resuming after step 2" in said
    jax.tree.map(np.testing.assert_array_equal, whole.params, parts.params)
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["base"]
    with pytest.raises(InputError, match="is not the preset small"):
        source.load_base("small", None, print, folder=tmp_path / "parts")


def test_a_judge_that_was_trained_on_is_another_one(place):
    params, _ = load_model(place / "base")
    write_run(place / "rm", place, params, mode="reward", judge=None)
    judge = reward_model.init(jax.random.key(1), CONFIG, params)
    add_checkpoint(place / "rm", 3, TrainState(Trained(judge, ()), jax.random.key(0)))
    asked = command(place, judge=f"reward:{place / 'rm'}")
    assert train.main(asked) == 0
    assert train.main(asked) == 0
    judge = jax.tree.map(lambda leaf: leaf + 1, judge)
    add_checkpoint(place / "rm", 4, TrainState(Trained(judge, ()), jax.random.key(0)))
    with pytest.raises(InputError, match="the judge changed"):
        train.main(asked)


def test_the_step_of_a_run_that_another_starts_from_is_kept(place):
    params, _ = load_model(place / "base")
    write_run(place / "first", place, params)
    assert train.main(command(place, model=place / "first")) == 0
    assert read_run(place / "run")["content"]["model_step"] == 2
    later = TrainState(PolicyPart(Trained(shifted(params), ())), jax.random.key(0))
    add_checkpoint(place / "first", 3, later)
    assert train.main(command(place, model=place / "first")) == 0
    np.testing.assert_array_equal(load_reference(place / "run").params["final_norm"], params["final_norm"])


def test_adapters_of_another_base_are_refused(place):
    params, _ = load_model(place / "base")
    for lora in (None, 2):
        out = place / f"run{lora}"
        assert train.main(command(place, lora=lora, out=out)) == 0
    add_checkpoint(place / "runNone", 2, TrainState(PolicyPart(Trained(params, ())), jax.random.key(0)))
    change_base(place)
    with pytest.raises(InputError, match="its adapters fit those of then; put them back"):
        load_policy(place / "run2")
    told = []
    load_policy(place / "runNone", say=told.append)
    assert "its reference is another one now" in told[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged;"),
        ("[]", "is damaged;"),
        ("[" * 100_000, "is damaged;"),
        ("{}", "is damaged;"),
        ('{"kind": "train"}', "is damaged;"),
        ('{"kind": "train", "settings": []}', "is damaged"),
        ('{"kind": "train", "settings": {}}', "does not say mode"),
        ('{"kind": "train", "settings": {"mode": 3}}', "mode is 3"),
        ('{"kind": "evaluate"}', "is a run of evaluate"),
    ],
    ids=range(9),
)
def test_a_folder_that_says_nonsense_of_itself_is_refused(tmp_path, content, message):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_run(tmp_path)


def test_a_content_that_is_nonsense_is_refused(place):
    assert train.main(command(place)) == 0
    record = read_run(place / "run")
    for content, message in (
        ({"model": 3}, "model is 3"),
        ([1], "is damaged"),
        ({"model": ""}, "model_step"),
    ):
        (place / "run" / "run.json").write_text(json.dumps({**record, "content": content}))
        with pytest.raises(InputError, match=message):
            read_run(place / "run")


def test_runs_that_start_from_each_other_are_refused(place):
    params, _ = load_model(place / "base")
    write_run(place / "one", place, params, model=place / "two")
    write_run(place / "two", place, params, model=place / "one")
    with pytest.raises(InputError, match="starts from itself"):
        load_policy(place / "one")


def add_tokenizer(folder):
    """Of a base model with the tokens of ChatML, whose texts end otherwise."""
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    words = {word: index for index, word in enumerate([*names, "?", "a", "Story", ":"])}
    made = Tokenizer(models.WordLevel(words, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(names)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 0, "top_k": 20}))


def test_the_end_of_the_template_is_that_of_every_command(place, monkeypatch, nlhf):
    """Through a run of a run: where train, sample and evaluate stop, and what export writes."""
    add_tokenizer(place / "base")
    params, _ = load_model(place / "base")
    write_run(place / "first", place, params)
    write_run(place / "second", place, params, model=place / "first")
    assert [each.tokenizer.end for each in load_policy(place / "second")] == [2, 2]
    assert sample_text._pretrained(place / "base").tokenizer.end == 2
    done = nlhf("export", place / "second", place / "out")
    assert done.code == 0, done.err
    assert done.err == ""
    assert (place / "out" / "tokenizer.json").read_bytes() == (place / "base" / "tokenizer.json").read_bytes()
    assert json.loads((place / "out" / "config.json").read_text())["eos_token_id"] == 2
    written = json.loads((place / "out" / "generation_config.json").read_text())
    assert written == {"eos_token_id": 2, "top_k": 20}
    seen = []
    made = train._policy_run
    monkeypatch.setattr(
        train, "_policy_run", lambda *given: (seen.append(given[1].tokenizer.end), made(*given))[1]
    )
    labelled = {"algorithm": "dpo", "judge": "data", "data": place / "pairs.jsonl"}
    for template, end in (("auto", 2), ("plain", 0)):
        assert train.main(command(place, template=template, out=place / template, **labelled)) == 0
        assert seen.pop() == end
    made_of = load_reference(place / "plain")
    assert made_of.tokenizer.end == 0
