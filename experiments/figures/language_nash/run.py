"""Figure ``language-nash``: a transformer on a language that can be written out, and the exact Nash.

Every string of a given length over 8 tokens is an action of a game; a population of judges makes the
preferences, and the reference is the transformer's own first table, so that a table and the transformer play
the same game. EGPO, Nash Mirror Prox and Nash-MD run in both worlds from the same algorithm file, with exact
payoffs; a projection of the transformer is k optimiser steps on the contrasts of all strings. The distance is
KL(Nash ‖ policy) to the equilibrium of the regularised game, found by Newton's method.

Expected: on tables EGPO and Nash Mirror Prox fall linearly without end; the transformer follows them down to
about 1e-2, then more slowly, and ends below 1e-3. Nash-MD with a constant step stops at its biased limit, the
same in both worlds. Its mixture can be that of whole strings (as in the theorem) or of tokens (what can be
sampled from). At the weight ηβ the two are only about 2e-4 nats apart, but a policy that is moved *from* the
mixture of tokens is bent by that difference at every step, and the pull back is ηβ of it: the error adds up
to 1/(ηβ) times as much in log-probabilities, (ηβ)^-2 in KL, so the run stalls near 2e-2. Hence anchors are
mixtures of whole strings by default. The panels at the right show how far apart the two mixtures are, along
the run and by the weight of the reference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.figures.shared.curves import Announce, Brief, Curve, announced, check_seeds
from nlhf import egpo, logspace, nash_md, nash_mirror_prox
from nlhf.base import Algorithm, Oracle, PolicySpace, check_number, check_whole
from nlhf.errors import InputError
from nlhf.policies import Mixture
from nlhf.transformer.enumerable import all_responses, language_oracle
from nlhf.transformer.enumerable import table as table_of
from nlhf.transformer.model import decoder
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.policy import REFERENCE, LanguageModel
from nlhf.transformer.responses import Responses
from nlhf.transformer.space import start, transformer_space
from tabular.games import Game, make_game
from tabular.language import population_language
from tabular.runner import run as run_table
from tabular.solution import solve

TRANSFORMER, TABLE = "transformer", "table"
FORM = "on_policy"  # all strings are there, so each counts by its probability


class Method(NamedTuple):
    """A line of the figure: ``make(step_size, beta)``, queries a step, and whose mixture it asks about."""

    make: Callable[[float, float], Algorithm]
    queries: int
    mixture: str


METHODS: dict[str, Method] = {
    "egpo": Method(egpo, 2, "sequence"),
    "nash_mirror_prox": Method(nash_mirror_prox, 2, "sequence"),
    "nash_md": Method(nash_md, 1, "sequence"),
    "nash_md_token": Method(nash_md, 1, "token"),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure."""

    seeds: int = 3  # languages (preferences and first parameters), 1 to 100
    vocabulary: int = 8  # tokens
    lengths: tuple[int, ...] = (3,)  # tokens a string, one row of panels each
    beta: float = 0.1  # KL coefficient
    step_size: float = 1.0  # η of EGPO and Nash-MD, g of Nash Mirror Prox
    queries: int = 160  # payoff queries of a run
    width: int = 32  # of the transformer's residual stream
    layers: int = 2  # of the transformer
    spread: float = 5.0  # factor on the first embeddings; the reference at 1 is nearly uniform
    learning_rate: float = 3e-3  # of Adam
    num_updates: int = 10  # optimiser steps a projection
    methods: tuple[str, ...] = tuple(METHODS)  # keys of ``METHODS``
    seed: int = 0  # root of all random draws


def quick(config: Config) -> Config:
    """A smaller version for smoke runs: one language of strings of 3 tokens, half the queries."""
    return dataclasses.replace(config, seeds=1, lengths=(3,), queries=config.queries // 2)


@dataclasses.dataclass(frozen=True, repr=False)
class Line(Curve):
    """Median, least and largest value over seeds, over payoff queries or the weight of the reference."""

    world: str  # ``transformer`` or ``table``


@dataclasses.dataclass(frozen=True)
class Panel:
    """The strings of one length."""

    length: int  # tokens a string
    distance: list[Line]  # KL(Nash ‖ policy) over queries, in both worlds
    # KL between the mixture of strings and that of tokens at the weight ηβ, over queries of Nash-MD
    apart: list[Line]
    # the same of the last policy of the first method, over the weight of the reference
    by_weight: list[Line]
    start: list[float]  # KL(Nash ‖ reference), for each seed
    final: dict[str, list[float]]  # the last distance of each transformer, by method, for each seed
    # KL(table's policy ‖ transformer's) at the end, by method, for each seed
    agreement: dict[str, list[float]]


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Brief):
    """Everything the figure and the table are drawn from."""

    config: Config  # the settings
    panels: list[Panel]  # one for each length


class World(NamedTuple):
    """One language: its transformer, its strings, and the game that they are."""

    model: LanguageModel
    responses: Responses
    game: Game
    log_nash: jax.Array


class Measured(NamedTuple):
    """One run of the transformer: ``[N + 1]`` distances, ``[N + 1]`` KL between mixtures, the last table."""

    distance: np.ndarray
    apart: np.ndarray
    last: np.ndarray
    policy: Any


@announced
def run(config: Config, progress: Announce) -> Result:
    """Train every method on every language.

    Args:
      progress: called with a description and the number of units before each unit of work.

    Raises:
      InputError: on a setting out of its range.
    """
    _check(config)
    optimiser = optax.adam(config.learning_rate)
    return Result(config, [_panel(config, length, optimiser, progress) for length in config.lengths])


def _check(config: Config) -> None:
    check_seeds(config.seeds, 100)
    for name in ("vocabulary", "queries", "width", "layers", "num_updates"):
        check_whole(name, getattr(config, name), low=2 if name in ("vocabulary", "queries") else 1)
    for name in ("beta", "spread", "learning_rate"):
        check_number(name, getattr(config, name), open_low=True)
    check_number("step_size", config.step_size, high=1 / config.beta, open_low=True)
    unknown = sorted(set(config.methods) - set(METHODS))
    if unknown or not config.methods or not config.lengths:
        raise InputError(
            f"methods are {config.methods} and lengths {config.lengths}; give some of {', '.join(METHODS)} "
            "and one length at least"
        )


def world(config: Config, length: int, index: int, model_config: ModelConfig) -> World:
    """Make language ``index``: first parameters, preferences, and the equilibrium."""
    key = jax.random.fold_in(jax.random.key(config.seed), index)
    model_key, language_key = jax.random.split(key)
    base = decoder.init(model_key, model_config)
    base = {**base, "embedding": base["embedding"] * jnp.asarray(config.spread, base["embedding"].dtype)}
    model = LanguageModel(base, model_config)
    language = population_language(language_key, config.vocabulary, length, beta=config.beta)
    # a token of its own begins a string: rotary positions are relative, so a model cannot tell the strings
    # 0, 00 and 000 apart, and with token 0 for a beginning no parameters would reach most policies
    responses = all_responses(language.tokens, config.vocabulary)
    space = transformer_space(model, optax.identity())
    log_ref = logspace.normalise(table_of(space, REFERENCE, responses)[0].astype(jnp.float64))
    game = make_game(language.game.preference[0], log_ref, config.beta)
    return World(model, responses, game, jnp.asarray(solve(game).log_policy[0]))


def model_config(config: Config, length: int) -> ModelConfig:
    """Sizes of the transformer: four heads on two key heads, float32, one more token to begin with."""
    return ModelConfig(
        vocabulary=config.vocabulary + 1,
        width=config.width,
        layers=config.layers,
        heads=4,
        kv_heads=2,
        head_width=max(2, config.width // 8 * 2),
        hidden=2 * config.width,
        context=length + 1,
    )


def _panel(config: Config, length: int, optimiser: optax.GradientTransformation, progress: Announce) -> Panel:
    total = len(config.lengths) * config.seeds * len(config.methods)
    runs: dict[str, list[Measured]] = {name: [] for name in config.methods}
    tables: dict[str, list[np.ndarray]] = {name: [] for name in config.methods}
    agreement: dict[str, list[float]] = {name: [] for name in config.methods}
    weights = np.linspace(0, 1, 11)
    swept, first = [], []
    for index in range(config.seeds):
        at = world(config, length, index, model_config(config, length))
        first.append(float(logspace.kl(at.log_nash, at.game.log_ref[0])))
        for name in config.methods:
            progress(f"{name} on strings of {length}, language {index + 1}", total)
            measured = train(config, name, at, optimiser)
            values, last = _on_table(config, name, at)
            runs[name].append(measured)
            tables[name].append(values)
            agreement[name].append(float(logspace.kl(last, jnp.asarray(measured.last))))
        policy = runs[config.methods[0]][-1].policy
        swept.append([float(_apart(*_spaces(at, optimiser), at.responses, policy, w)) for w in weights])
    distance, apart = [], []
    for name in config.methods:
        queries = np.arange(config.queries // METHODS[name].queries + 1) * METHODS[name].queries
        distance.append(_line(name, TRANSFORMER, queries, [each.distance for each in runs[name]]))
        if METHODS[name].mixture == "sequence":
            distance.append(_line(name, TABLE, queries, tables[name]))
        if METHODS[name].make is nash_md:
            apart.append(_line(name, TRANSFORMER, queries, [each.apart for each in runs[name]]))
    return Panel(
        length,
        distance,
        apart,
        [_line(config.methods[0], TRANSFORMER, weights, swept)],
        first,
        {name: [float(each.distance[-1]) for each in measured] for name, measured in runs.items()},
        agreement,
    )


def _spaces(
    at: World, optimiser: optax.GradientTransformation, num_updates: int = 1
) -> tuple[PolicySpace, PolicySpace]:
    """Return the space with mixtures of whole strings, and the one with mixtures of tokens."""
    whole, tokens = (
        transformer_space(at.model, optimiser, num_updates=num_updates, form=FORM, mixture=mixture)
        for mixture in ("sequence", "token")
    )
    return whole, tokens


def train(config: Config, name: str, at: World, optimiser: optax.GradientTransformation) -> Measured:
    """Run one method on the transformer of one language.

    Args:
      optimiser: made once, or everything compiles again.
    """
    method = METHODS[name]
    algorithm = method.make(config.step_size, config.beta)
    whole, tokens = _spaces(at, optimiser, config.num_updates)
    space = whole if method.mixture == "sequence" else tokens
    oracle = language_oracle(space, at.responses, at.game.preference[0])
    state = algorithm.init(start(at.model, optimiser))
    posed = Posed(at, space, whole, tokens, oracle, jnp.asarray(config.step_size * config.beta))
    keys = jax.random.split(jax.random.key(config.seed), config.queries // method.queries)
    state, (distance, apart) = _scan(algorithm, posed, state, keys)
    table = _table(space, at.responses, state.policy)
    distance, apart, last = (np.asarray(value, float) for value in (distance, apart, table))
    return Measured(distance, apart, last, state.policy)


class Posed(NamedTuple):
    """What a method is run on: a language, its own space, both spaces, payoffs, the reference's weight."""

    at: World
    space: PolicySpace
    whole: PolicySpace
    tokens: PolicySpace
    oracle: Oracle
    weight: jax.Array


@jax.jit
def _scan(
    algorithm: Algorithm, posed: Posed, state: Any, keys: jax.Array
) -> tuple[Any, tuple[jax.Array, jax.Array]]:
    """Make all steps in one program; what is measured stands before each step, and after the last.

    Not ``transformer.train``: payoffs are exact and the same at every step, and one program for all steps
    takes seconds where a loop in Python takes minutes.
    """

    def measure(policy: Any) -> tuple[jax.Array, jax.Array]:
        responses = posed.at.responses
        distance = logspace.kl(posed.at.log_nash, _table(posed.space, responses, policy))
        return distance, _apart(posed.whole, posed.tokens, responses, policy, posed.weight)

    def advance(state: Any, key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        return algorithm.step(key, state, posed.oracle, posed.space)[0], measure(state.policy)

    state, (distance, apart) = jax.lax.scan(advance, state, keys)
    last_distance, last_apart = measure(state.policy)
    return state, (jnp.append(distance, last_distance), jnp.append(apart, last_apart))


def _table(space: PolicySpace, responses: Responses, policy: Any) -> jax.Array:
    return logspace.normalise(table_of(space, policy, responses)[0].astype(jnp.float64))


@jax.jit
def _apart(
    whole: PolicySpace, tokens: PolicySpace, responses: Responses, policy: Any, weight: Any
) -> jax.Array:
    """KL(mixture of strings ‖ mixture of tokens) of a policy and the reference."""
    mixture = Mixture(policy, REFERENCE, weight)
    return logspace.kl(_table(whole, responses, mixture), _table(tokens, responses, mixture))


def _on_table(config: Config, name: str, at: World) -> tuple[np.ndarray, jax.Array]:
    """Distances of the same algorithm file on a table, and its last policy."""
    method = METHODS[name]
    trace = run_table(
        method.make(config.step_size, config.beta),
        at.game,
        num_steps=config.queries // method.queries,
        log_nash=at.log_nash[None],
        measures=("kl_to_nash",),
    )
    return np.asarray(trace.of("kl_to_nash")), trace.state.policy[0]


def _line(name: str, world: str, x: Any, values: Any) -> Line:
    rows = np.asarray(values, float)
    columns = (np.asarray(x, float), np.median(rows, axis=0), rows.min(axis=0), rows.max(axis=0))
    at, middle, low, high = (each.tolist() for each in columns)
    return Line(name, at, middle, low, high, world)
