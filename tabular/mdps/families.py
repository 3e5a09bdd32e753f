"""Named families of decision processes: random, layered, token trees, gridworlds, the delivery gridworld."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace
from nlhf.base import check_number, check_whole
from nlhf.errors import InputError
from tabular.mdps.mdp import MDP, make_mdp

Array = jax.Array
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # up, down, left, right


def random_mdp(
    key: Array,
    num_states: int,
    num_actions: int,
    *,
    deterministic: bool = False,
    spread: Any = 2.0,
    reward_scale: Any = 1.0,
    discount: Any = 0.9,
    beta: Any = 0.1,
) -> MDP:
    """Normal rewards, transitions that are a softmax of normal logits (or certain); no end; maximum entropy.

    Args:
      key: random key; ``vmap`` over keys, discounts and betas is a batch of MDPs.
      num_states: S >= 1.
      num_actions: A >= 1.
      deterministic: whether every next state is certain.
      spread: standard deviation of the logits of the next state, in nats; 0 is uniform.
      reward_scale: standard deviation of the rewards, >= 0.
      discount: in (0, 1).
      beta: >= 0.

    Raises:
      InputError: on a number out of its range.
    """
    check_whole("num_states", num_states)
    check_whole("num_actions", num_actions)
    check_number("spread", spread)
    check_number("reward_scale", reward_scale)
    check_number("discount", discount, high=1 - 1e-12, open_low=True)
    check_number("beta", beta)
    reward_key, next_key = jax.random.split(key)
    reward = reward_scale * jax.random.normal(reward_key, (num_states, num_actions))
    return MDP(
        transition=_next_states(next_key, (num_states, num_actions), num_states, deterministic, spread),
        reward=reward,
        log_ref=jnp.zeros_like(reward),
        initial=jnp.full((num_states,), 1 / num_states),
        terminal=jnp.zeros((num_states,), bool),
        discount=jnp.asarray(discount, reward.dtype),
        beta=jnp.asarray(beta, reward.dtype),
    )


def layered(
    key: Array,
    horizon: int,
    width: int,
    num_actions: int,
    *,
    deterministic: bool = True,
    spread: Any = 2.0,
    reference_scale: Any = 1.0,
    beta: Any = 0.1,
) -> MDP:
    """Finite horizon as a stationary MDP: H layers of ``width`` states, then one terminal state; discount 1.

    State ``h width + i`` is state i of layer h, state ``H width`` the terminal one. The start is uniform in
    layer 0, rewards are standard normal, the reference is a softmax of normal logits.

    Args:
      key: random key; ``vmap`` over keys and betas is a batch of MDPs.
      horizon: H >= 1.
      width: states of a layer, >= 1.
      num_actions: A >= 1.
      deterministic: whether every next state is certain.
      spread: as in ``random_mdp``.
      reference_scale: standard deviation of the logits of the reference, in nats.
      beta: >= 0.

    Raises:
      InputError: on a number out of its range.
    """
    check_whole("horizon", horizon)
    check_whole("width", width)
    check_whole("num_actions", num_actions)
    check_number("spread", spread)
    check_number("reference_scale", reference_scale)
    check_number("beta", beta)
    reward_key, next_key, ref_key = jax.random.split(key, 3)
    last = horizon * width
    shape = (horizon, width, num_actions)
    inside = _next_states(next_key, shape, width, deterministic, spread)
    blocks = [
        jnp.pad(inside[h], ((0, 0), (0, 0), ((h + 1) * width, last + 1 - (h + 2) * width)))
        for h in range(horizon - 1)
    ]
    end = jnp.zeros((width + 1, num_actions, last + 1)).at[..., last].set(1.0)
    reward = (
        jnp.zeros((last + 1, num_actions)).at[:last].set(jax.random.normal(reward_key, (last, num_actions)))
    )
    logits = reference_scale * jax.random.normal(ref_key, (last + 1, num_actions))
    return MDP(
        transition=jnp.concatenate([*blocks, end]),
        reward=reward,
        log_ref=logspace.normalise(logits),
        initial=jnp.zeros(last + 1).at[:width].set(1 / width),
        terminal=jnp.arange(last + 1) == last,
        discount=jnp.ones(()),
        beta=jnp.asarray(beta, reward.dtype),
    )


def token_tree(
    key: Array,
    vocabulary: int,
    depth: int,
    *,
    additive: bool = False,
    leaf_reward: Array | None = None,
    reference_scale: Any = 1.0,
    beta: Any = 0.1,
) -> MDP:
    """Token by token generation: states are prefixes, actions tokens, the last token ends; discount 1.

    Prefix 0 is empty, and token a leads from prefix i to ``vocabulary i + 1 + a``: layer by layer,
    prefixes in the order of their tokens. The terminal state is the last index.

    Args:
      key: random key; ``vmap`` over keys and betas is a batch of MDPs.
      vocabulary: number of tokens, >= 1.
      depth: tokens in a response, >= 1.
      additive: whether every token pays (standard normal), or only the last one.
      leaf_reward: any shape of ``vocabulary**depth`` entries, the reward of each whole response in the order
        of its tokens; ``None`` is standard normal. Left out if ``additive``.
      reference_scale: standard deviation of the logits of the reference, in nats.
      beta: >= 0.

    Raises:
      InputError: on a number out of its range, or a leaf reward of another size.
    """
    check_whole("vocabulary", vocabulary)
    check_whole("depth", depth)
    check_number("reference_scale", reference_scale)
    check_number("beta", beta)
    reward_key, ref_key = jax.random.split(key)
    prefixes = sum(vocabulary**h for h in range(depth))
    inner = prefixes - vocabulary ** (depth - 1)  # prefixes whose next token is not the last
    follow = vocabulary * np.arange(inner)[:, None] + 1 + np.arange(vocabulary)
    follow = np.concatenate([follow, np.full((prefixes + 1 - inner, vocabulary), prefixes)])
    reward = jax.random.normal(reward_key, (prefixes + 1, vocabulary)).at[prefixes].set(0.0)
    if not additive:
        reward = reward.at[:inner].set(0.0)
        if leaf_reward is not None:
            if jnp.size(leaf_reward) != vocabulary**depth:
                raise InputError(
                    f"leaf_reward has {jnp.size(leaf_reward)} entries, but {depth} tokens out of "
                    f"{vocabulary} make {vocabulary**depth} responses; give one reward each"
                )
            table = jnp.asarray(leaf_reward, reward.dtype).reshape(-1, vocabulary)
            reward = reward.at[inner:prefixes].set(table)
    logits = reference_scale * jax.random.normal(ref_key, (prefixes + 1, vocabulary))
    return MDP(
        transition=jax.nn.one_hot(follow, prefixes + 1, dtype=reward.dtype),
        reward=reward,
        log_ref=logspace.normalise(logits),
        initial=jnp.zeros(prefixes + 1).at[0].set(1.0),
        terminal=jnp.arange(prefixes + 1) == prefixes,
        discount=jnp.ones(()),
        beta=jnp.asarray(beta, reward.dtype),
    )


GRID = """
....#....
.##.#.##.
.#..x..#.
.#.###.#.
s...#...g
"""


def gridworld(
    board: str = GRID,
    *,
    step_reward: float = -1.0,
    goal_reward: float = 10.0,
    pit_reward: float = -10.0,
    slip: float = 0.0,
    discount: Any = 0.95,
    beta: Any = 0.5,
) -> MDP:
    """Four moves on a board; goals and pits end the run, walls and the edge leave one where one is.

    States are the cells that are not walls, in reading order; actions are up, down, left, right. Entering a
    goal or a pit pays its reward on top of the step's.

    Args:
      board: rows of ``.`` free, ``#`` wall, ``g`` goal, ``x`` pit, ``s`` start (``None`` of them: uniform).
      step_reward: of every move.
      goal_reward: added on entering a goal.
      pit_reward: added on entering a pit.
      slip: probability of a uniformly drawn move in place of the chosen one, in [0, 1].
      discount: in (0, 1].
      beta: >= 0; maximum entropy.

    Raises:
      InputError: on rows of unequal length, an unknown character, a number out of its range, and what
        ``make_mdp`` refuses.
    """
    check_number("slip", slip, high=1.0)
    rows = parse_board(board, ".#gxs")
    cells, follow = moves(rows, "#")
    kind = np.array([rows[i][j] for i, j in cells])
    count = len(cells)
    certain = np.eye(count)[follow]
    transition = (1 - slip) * certain + slip * certain.mean(1, keepdims=True)
    ends = np.isin(kind, ("g", "x"))
    entered = goal_reward * (kind == "g") + pit_reward * (kind == "x")
    reward = np.where(ends[:, None], 0.0, step_reward + transition @ entered)
    start = kind == "s"
    initial = start / start.sum() if start.any() else None
    return make_mdp(transition, reward, initial=initial, terminal=ends, discount=discount, beta=beta)


def parse_board(board: str, characters: str) -> list[str]:
    """Return the rows of a text board.

    Args:
      board: one row a line; blank lines around it are dropped.

    Raises:
      InputError: on rows of unequal length or another character.
    """
    rows = board.strip().split("\n")
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise InputError(
                f"row {number} of the board has {len(row)} cells, but row 0 has {len(rows[0])}; pad it"
            )
        wrong = set(row) - set(characters)
        if wrong:
            raise InputError(
                f"row {number} of the board has {min(wrong)!r}, but a cell is one of {characters!r}; "
                "replace it"
            )
    return rows


def moves(rows: list[str], walls: str, confined: str = "") -> tuple[list[tuple[int, int]], np.ndarray]:
    """Cells that are not walls in reading order, and ``[S, 4]`` where each move leads.

    From a cell in ``confined`` only other such cells can be entered.
    """
    cells = [(i, j) for i, row in enumerate(rows) for j, cell in enumerate(row) if cell not in walls]
    index = {cell: number for number, cell in enumerate(cells)}
    follow = np.zeros((len(cells), len(MOVES)), int)
    for (i, j), here in index.items():
        for move, (down, right) in enumerate(MOVES):
            there = (i + down, j + right)
            shut = rows[i][j] in confined and there in index and rows[there[0]][there[1]] not in confined
            follow[here, move] = here if shut else index.get(there, here)
    return cells, follow


def _next_states(
    key: Array, shape: tuple[int, ...], num_states: int, deterministic: bool, spread: Any
) -> Array:
    if deterministic:
        return jax.nn.one_hot(jax.random.randint(key, shape, 0, num_states), num_states, dtype=float)
    return jax.nn.softmax(spread * jax.random.normal(key, (*shape, num_states)), axis=-1)
