"""``nlhf bench tabular``: how fast exact runs are, beside plain numpy and beside what the machine can do.

Three questions, each answered by ratios of times taken in turns in one process:

1. One EGPO run with its duality gap recorded at every step: 2 products P π an iteration, against the rate of
   such matrix-vector products in BLAS and in XLA.
2. A whole figure: 5 algorithms x G games x S values of β, gap at every step, through
   ``tabular.many.run_many``; against numpy loops (one run at a time, and S runs at a time) and the *floor*.
3. All settings on one game, where queries are [A, A] x [A, S] products, against the GEMM rate.

The floor of the figure is the time of the arithmetic that no implementation avoids, on all cores: the
distinct products P π at the best GEMM rate seen for [A, A] x [A, 25], and one exponential an action for each
policy that is multiplied and each best response, at the best rate seen. Additions, maxima, logarithms, memory
and Python count as zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import nlhf
from experiments.bench import machine
from experiments.bench.tabular_numpy import Problem, loop
from experiments.bench.tabular_report import PRODUCTS, BatchRow, Config, FigureRow, Result, SingleRow, report
from nlhf import logspace
from nlhf.base import Algorithm, hyper
from tabular import families
from tabular.games import Game, with_beta
from tabular.many import grid, num_workers, run_many
from tabular.runner import Axes
from tabular.runner import run as run_one

__all__ = ["Config", "report", "run"]

# algorithms of any batch of betas, with steps inside the ranges that their claims cover
METHODS: dict[str, Callable[[Any], Algorithm]] = {
    "online_mirror_descent": lambda beta: nlhf.online_mirror_descent(4 * beta / (1 + 4 * beta**2), beta),
    "nash_md": lambda beta: nlhf.nash_md(0.05 / beta, beta),
    "nash_mirror_prox": lambda beta: nlhf.nash_mirror_prox(2.0 + 0 * beta, beta),
    "egpo": lambda beta: nlhf.egpo(1 / (2 * beta + 2), beta),
    "omwu": lambda beta: nlhf.omwu(jnp.minimum(1 / (2 * beta + 1), 0.5), beta),
}


def shrink(config: Config) -> Config:
    """Return the quick version of the settings."""
    return dataclasses.replace(
        config,
        sizes=tuple(size for size in config.sizes if size <= 1000),
        batch_sizes=config.batch_sizes[:1],
        steps=min(config.steps, 400),
        numpy_steps=min(config.numpy_steps, 50),
        repeats=min(config.repeats, 3),
        work=min(config.work, 1e8),
    )


def run(config: Config) -> Result:
    """Measure everything; about half a minute with ``quick``, some minutes without."""
    config = shrink(config) if config.quick else config
    workers = num_workers()
    bandwidth, square = _machine(config, workers)
    return Result(
        config=config,
        workers=workers,
        bandwidth=bandwidth,
        square_gemm=square,
        single=[_single(config, size) for size in config.sizes],
        figure=_figure(config, workers),
        batch=[_batch(config, size, workers) for size in config.batch_sizes],
    )


def _machine(config: Config, workers: int) -> tuple[float, float]:
    source = np.ones((workers, 8_000_000))
    target = np.zeros_like(source)
    square = np.ones((1000, 1000))
    functions: dict[str, Callable[[], Any]] = {
        "copy": machine.on_all_cores(lambda worker: np.copyto(target[worker], source[worker]), workers),
        "square": lambda: square @ square,
    }
    seconds = machine.race(functions, 2 * config.repeats + 1)
    return 2 * source.nbytes / seconds["copy"], 2e9 / seconds["square"]


def _skew(config: Config, num_actions: int) -> np.ndarray:
    """A random skew matrix in [-1/2, 1/2], made with one temporary: at A = 10,000 it takes 800 MB."""
    matrix = np.random.default_rng(config.seed).random((num_actions, num_actions))
    matrix -= matrix.T.copy()
    matrix *= 0.5
    return matrix


def _game(matrix: np.ndarray, beta: float) -> Game:
    num_actions = len(matrix)
    return Game(
        jnp.asarray(matrix[None]), logspace.uniform(num_actions)[None], jnp.ones(1), jnp.asarray(beta)
    )


def _num_calls(config: Config, multiplications: float) -> int:
    """Repetitions inside one timed call."""
    return int(np.clip(config.work / multiplications, 3, 5000))


def _single(config: Config, num_actions: int) -> SingleRow:
    matrix = _skew(config, num_actions)
    count = _num_calls(config, num_actions**2)
    beta = config.betas[0]
    game, method = _game(matrix, beta), METHODS["egpo"](beta)
    problem = Problem(
        matrix, np.asarray(game.log_ref[0]), np.asarray(beta), np.asarray(hyper(method)["step_size"])
    )
    vector = np.full(num_actions, 1 / num_actions)
    row = jnp.asarray(vector)[None, None]
    functions: dict[str, Callable[[], Any]] = {
        "ours": lambda: jax.block_until_ready(run_one(method, game, num_steps=count)),
        "numpy": lambda: loop("egpo", problem, count),
        "gemv_numpy": lambda: machine.numpy_products(vector, matrix, 2 * count),
        "gemv_xla": lambda: machine.xla_products(row, game.advantage, 2 * count).block_until_ready(),
    }
    seconds = machine.race(functions, config.repeats)
    return SingleRow(
        num_actions,
        seconds["ours"] / count,
        seconds["numpy"] / count,
        seconds["gemv_numpy"] / (2 * count),
        seconds["gemv_xla"] / (2 * count),
    )


def _problems(game: Game, methods: dict[str, Algorithm], betas: np.ndarray) -> dict[str, Problem]:
    matrix, log_ref = np.asarray(game.advantage[0]), np.asarray(game.log_ref[0])
    return {
        name: Problem(matrix, log_ref, betas[:, None], np.asarray(hyper(method)["step_size"])[:, None])
        for name, method in methods.items()
    }


def _numpy_single(problems: dict[str, Problem], num_steps: int) -> None:
    for name, problem in problems.items():
        for beta, step_size in zip(problem.beta[:, 0], problem.step_size[:, 0], strict=True):
            loop(name, problem._replace(beta=np.asarray(beta), step_size=np.asarray(step_size)), num_steps)


def _numpy_batch(problems: dict[str, Problem], num_steps: int) -> None:
    for name, problem in problems.items():
        loop(name, problem, num_steps)


def _figure(config: Config, workers: int) -> FigureRow:
    num_actions, num_settings = config.actions, len(config.betas)
    betas = np.asarray(config.betas)
    keys = jax.random.split(jax.random.key(config.seed), config.games)
    preferences = families.uniform_skew(keys[0], num_actions, config.games)
    games = [_game(np.asarray(matrix - 0.5), config.betas[0]) for matrix in preferences]
    stacked, axes = grid(games, betas)
    methods = {name: make(jnp.asarray(betas)) for name, make in METHODS.items()}
    problems = _problems(games[0], methods, betas)

    columns = len(PRODUCTS) * num_settings
    count = _num_calls(config, num_actions**2 * columns * config.games)
    policies = jnp.full((config.games, columns, num_actions), 1 / num_actions)
    products = [stacked.advantage[worker::workers, 0] for worker in range(workers)]
    shares = [policies[worker::workers] for worker in range(workers)]
    block, logits = np.asarray(policies[0]).T.copy(), np.full(policies.size // workers, -1.0)
    one, table = np.asarray(games[0].advantage[0]), jnp.asarray(logits)

    def multiply(worker: int) -> None:
        machine.xla_products(shares[worker], products[worker], count).block_until_ready()

    def exponentiate(worker: int) -> None:
        machine.xla_exponentials(table, count).block_until_ready()

    def draw(num_workers: int | None) -> None:
        run_many(methods, stacked, axes=axes, num_steps=config.steps, workers=num_workers)

    functions: dict[str, Callable[[], Any]] = {
        "ours": lambda: draw(None),
        "gemm_xla": machine.on_all_cores(multiply, workers),
        "gemm_numpy": lambda: machine.numpy_products(block, one, count * config.games),
        "exp_xla": machine.on_all_cores(exponentiate, workers),
        "exp_numpy": machine.on_all_cores(lambda _: machine.numpy_exponentials(logits, count), workers),
        "numpy": lambda: _numpy_single(problems, config.numpy_steps),
        "numpy_batch": lambda: _numpy_batch(problems, config.numpy_steps),
        "serial": lambda: draw(1),
    }
    seconds = machine.race(functions, min(config.repeats, 3))
    runs = config.games * num_settings * config.steps
    scale = config.games * config.steps / config.numpy_steps
    best_product = min(seconds["gemm_xla"], seconds["gemm_numpy"]) / (count * config.games * columns)
    best_exp = min(seconds["exp_xla"], seconds["exp_numpy"]) / (count * workers * len(logits))
    # one exponential an action for each policy that is multiplied, and for each algorithm's best response
    exponentials = (sum(PRODUCTS.values()) + len(PRODUCTS)) * num_actions
    return FigureRow(
        seconds=seconds["ours"],
        serial_seconds=seconds["serial"],
        numpy_seconds=seconds["numpy"] * scale,
        numpy_batch_seconds=seconds["numpy_batch"] * scale,
        gemm=runs * sum(PRODUCTS.values()) * best_product,
        exponentials=runs * exponentials * best_exp,
    )


def _batch(config: Config, num_actions: int, workers: int) -> BatchRow:
    matrix = _skew(config, num_actions)
    betas = jnp.asarray(config.betas)
    columns = len(PRODUCTS) * len(config.betas)
    many_betas = jnp.geomspace(min(config.betas), max(config.betas), columns)
    count = _num_calls(config, num_actions**2 * columns)
    game = _game(matrix, config.betas[0])
    axes = (Axes(algorithm=0, game=Game(None, None, None, 0)),)
    game_mixed, game_egpo = with_beta(game, betas), with_beta(game, many_betas)
    mixed = {name: make(betas) for name, make in METHODS.items()}
    egpo = METHODS["egpo"](many_betas)
    block = np.full((num_actions, columns), 1 / num_actions)
    policies = jnp.asarray(block.T[None])

    def multiply(worker: int) -> None:
        machine.xla_products(policies, game.advantage, count).block_until_ready()

    functions: dict[str, Callable[[], Any]] = {
        "mixed": lambda: run_many(mixed, game_mixed, axes=axes, num_steps=count),
        "egpo": lambda: jax.block_until_ready(run_one(egpo, game_egpo, num_steps=count, axes=axes)),
        "gemm_numpy": lambda: machine.numpy_products(block, matrix, count),
        "gemm_xla": machine.on_all_cores(multiply, workers),
    }
    seconds = machine.race(functions, config.repeats)
    one = 2 * num_actions**2 * count  # flops of one column
    return BatchRow(
        num_actions,
        mixed=one * len(config.betas) * sum(PRODUCTS.values()) / seconds["mixed"],
        egpo=one * columns * PRODUCTS["egpo"] / seconds["egpo"],
        gemm_numpy=one * columns / seconds["gemm_numpy"],
        gemm_xla=one * columns * workers / seconds["gemm_xla"],
    )
