"""The figure of story models and voting judges: parts, drawing, budget, and its claim on real weights."""

import json

import figures
import jax.numpy as jnp
import numpy as np
import pytest
from lm_runs import make_base

from experiments.figures.shared.palette import STYLES
from experiments.figures.story_judges import plot as story_judges_plot
from experiments.figures.story_judges import run as story_judges
from experiments.figures.story_judges import world as story_world
from experiments.figures.story_judges.run import Config, Curve, Result, Texts
from experiments.language_models.source import load_base
from experiments.language_models.win_rates import summarise
from nlhf import ALGORITHMS, LEARNERS
from nlhf.errors import InputError
from nlhf.transformer.judges.protocol import Judge
from nlhf.transformer.policy import REFERENCE
from nlhf.transformer.responses import Responses

PROMPTS = [f"Story {index}:" for index in range(20)]
TINY = {
    "prompts": 2,
    "responses": 2,
    "size": 6,
    "prompt_size": 12,
    "queries": 4,
    "evaluate_every": 2,
    "held_out": 4,
    "draws": 2,
    "num_resamples": 20,
    "shown": 1,
}


def made_up() -> Result:
    config = Config(seeds=2)
    names = list(config.methods)
    rates = np.full((5, 8, 8), 0.5)
    for place in range(1, 8):
        rates[:, place, 0] = 0.5 + 0.03 * place
        rates[:, 0, place] = 0.5 - 0.03 * place
    curves = [
        Curve(name, [0, 640, 1280], [[0.5, 0.6, 0.7], [0.5, 0.62, 0.72]], [[0.0, 2.0, 4.0], [0.0, 2.5, 4.5]])
        for name in names
    ]
    every = ["reference", *names]
    return Result(
        config,
        "stories260K",
        260_032,
        curves,
        summarise(every, rates, num_resamples=20, seed=0),
        {name: [0.7, 0.72] for name in names},
        {name: [0.1, 0.2, 0.3, 0.4, 0.5] for name in every},
        {name: 40.0 for name in every},
        0.25,
        0.5,
        [Texts("Once upon a time", {name: f"{name} says so" for name in every})],
    )


def test_the_figure_and_its_table_are_drawn_from_numbers_alone():
    drawn = made_up()
    assert figures.survives_json(story_judges, drawn)
    figure = story_judges_plot.plot(drawn)
    assert len(figure.axes) == 4
    lines = story_judges_plot.table(drawn).splitlines()
    (row,) = [line for line in lines if line.startswith("online DPO ") and "71.0 to 71.0" in line]
    assert "70.0, 72.0" in row
    assert "4.25" in row  # KL, mean of both seeds
    assert "25.0 % of prompts with a circle" in "\n".join(lines)
    assert "online DPO: dpo says so" in lines


def test_every_method_has_a_name_and_a_colour():
    assert set(story_world.METHODS) <= set(STYLES)
    assert set(story_judges_plot.LABELS) == {*STYLES, "reference"}
    for name, method in story_world.METHODS.items():
        known = ALGORITHMS if method.queries else LEARNERS
        assert name.removesuffix("_plain") in known
        assert (name in story_judges_plot.ASKS_FOR_LABELS) == (method.queries == 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seeds": 0}, "seeds is 0"),
        ({"methods": ("egpo", "ppo")}, "give some of egpo, nash_mirror_prox"),
        ({"methods": ()}, "give some of"),
        ({"step_size": 21.0}, "step_size is 21"),
        ({"queries": 7}, "queries is 7, but it must be even"),
        ({"responses": 1}, "responses is 1"),
        ({"label_beta": 0.0}, "label_beta is 0"),
        ({"data": "/nowhere"}, "no such file; name a folder that holds stories260K.bin"),
    ],
)
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        story_judges.run(figures.changed(Config(), **fields))


def test_data_may_lie_in_the_folders_of_their_sources(tmp_path):
    (tmp_path / "story_prompts").mkdir()
    (tmp_path / "story_prompts" / "prompts.json").write_text(json.dumps(PROMPTS))
    assert story_world.find(str(tmp_path), "prompts.json").parent.name == "story_prompts"
    (tmp_path / "prompts.json").write_text("[]")
    assert story_world.find(str(tmp_path), "prompts.json").parent == tmp_path


def test_quick_is_smaller():
    quick = story_judges.quick(Config())
    assert quick.seeds == 1
    assert quick.queries < Config().queries
    assert len(quick.methods) == 2
    story_judges.check(quick)


def test_circles_and_winners_are_counted_by_prompt():
    """Prompt 0: a circle of three below a winner; 1: all in line; 2: a circle and no winner; 3: all equal."""
    table = np.full((8, 8), 0.5, np.float32)
    for better, worse in ((0, 1), (1, 2), (2, 0), (3, 0), (3, 1), (3, 2), (4, 5), (5, 6), (4, 6)):
        table[better, worse], table[worse, better] = 1.0, 0.0
    for better, worse in ((4, 7), (5, 7), (6, 7)):
        table[better, worse], table[worse, better] = 0.6, 0.4
    judge = Judge(
        lambda responses: np.asarray(responses.tokens)[:, 0], lambda first, second: table[first, second]
    )
    table[7, 7] = 0.5
    tokens = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 2], [7, 7, 7, 7]])[..., None]
    given = Responses(jnp.zeros((4, 4, 1), jnp.int32), jnp.asarray(tokens), jnp.zeros((4, 4), jnp.float32))
    assert story_world.cycles(judge, given) == (0.5, 0.5)


@pytest.fixture
def tiny(tmp_path):
    make_base(tmp_path / "base")
    base = load_base(None, tmp_path / "base", print)
    config = Config(seeds=1, **TINY)
    rows = story_world.encode_prompts(
        [{"prompt": each} for each in PROMPTS], base.tokenizer, length=config.prompt_size
    ).data
    return config, story_world.build_world(config, base, np.asarray(rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", story_world.METHODS)
def test_every_method_keeps_to_the_same_budget(tiny, name):
    """Counted where the judge reads: queries times BK responses in training, whatever is asked for."""
    config, world = tiny
    seen = []

    def describe(responses):
        seen.append(responses.tokens.shape[0])
        return world.judge.describe(responses)

    counted = world._replace(judge=Judge(describe, world.judge.compare))
    reference = story_world.held_out_draw(world, config, 1, REFERENCE)
    track, _ = story_world.train(counted, config, name, 0, reference)
    evaluations = len(track.responses) * 2 * config.held_out * config.draws
    assert track.responses == [0, 8, 16]
    assert sum(seen) - evaluations == track.responses[-1]
    assert abs(track.kl[0]) < 1e-4
    assert track.kl[-1] != track.kl[0]
    assert len(world.held_out) == 4
    assert not {tuple(row) for row in world.held_out} & {tuple(row) for row in world.train}


@pytest.mark.slow
def test_the_whole_figure_runs_without_data(monkeypatch):
    from experiments.language_models import source as language_model

    monkeypatch.setitem(language_model.PRETRAINING, "tiny", (5, 4))
    config = Config(seeds=2, methods=("egpo", "xpo"), **{**TINY, "size": 12, "prompt_size": 192})
    calls = []
    result = story_judges.run(config, lambda what, total: calls.append((what, total)))
    assert len(calls) == 5
    assert {total for _, total in calls} == {5}
    assert figures.survives_json(story_judges, result)
    assert result.final.names == ["reference", "egpo", "xpo"]
    assert list(result.texts[0].answers) == result.final.names
    matrix = np.array(result.final.matrix)
    for place, name in ((1, "egpo"), (2, "xpo")):
        np.testing.assert_allclose(matrix[place, 0], np.mean(result.by_seed[name]), atol=1e-12)
    assert len(story_judges_plot.plot(result).axes) == 4


@pytest.mark.slow
def test_a_pretrained_model_learns_to_please_the_majority(shared):
    """stories260K, held-out prompts, fresh responses: EGPO and Nash Mirror Prox above 60 %."""
    config = Config(seeds=1, data=str(shared / "data"), methods=("egpo", "nash_mirror_prox"))
    result = story_judges.run(config)
    for name in config.methods:
        assert result.by_seed[name][0] > 0.6, result.by_seed
    column = result.final.names.index("reference")
    for place in (1, 2):
        assert result.final.low[place][column] > 0.55
