"""The microscope: games small enough to be solved exactly, and the instruments to look at them.

The first program finds the Nash policy of a game, and how close an algorithm comes to it:

>>> import jax, nlhf, tabular
>>> jax.config.update("jax_enable_x64", True)
>>> game = tabular.make_game(tabular.families.biased_rock_paper_scissors(), beta=0.1)
>>> nash = tabular.solve(game)
>>> trace = tabular.run(nlhf.egpo(1.5, game.beta), game, num_steps=400, log_nash=nash)
>>> bool(trace.of("kl_to_nash")[-1] < 1e-12)
True

Names load on first use, so that a command line can answer before JAX is imported.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tabular import families as families
    from tabular.bandits import Bandit as Bandit
    from tabular.bandits import make_bandit as make_bandit
    from tabular.games import Game as Game
    from tabular.games import make_game as make_game
    from tabular.games import with_beta as with_beta
    from tabular.many import grid as grid
    from tabular.many import run_many as run_many
    from tabular.mdps.mdp import MDP as MDP
    from tabular.mdps.mdp import make_mdp as make_mdp
    from tabular.mdps.segment_space import fresh_segments as fresh_segments
    from tabular.mdps.segment_space import offline_segments as offline_segments
    from tabular.mdps.segment_space import segment_space as segment_space
    from tabular.mdps.segments import labelled_segments as labelled_segments
    from tabular.metrics import measure as measure
    from tabular.oracle import exact as exact
    from tabular.oracle import labelled as labelled
    from tabular.oracle import offline as offline
    from tabular.oracle import sampled as sampled
    from tabular.preferences import load_preferences as load_preferences
    from tabular.readers.reference import load_reference as load_reference
    from tabular.replay import counts as counts
    from tabular.runner import Axes as Axes
    from tabular.runner import Measure as Measure
    from tabular.runner import Trace as Trace
    from tabular.runner import run as run
    from tabular.solution import Solution as Solution
    from tabular.solution import solve as solve
    from tabular.spaces.bounded import bounded_rewards as bounded_rewards
    from tabular.spaces.finite_class import finite_class as finite_class
    from tabular.spaces.linear import linear_rewards_space as linear_rewards_space
    from tabular.spaces.network import network_space as network_space
    from tabular.spaces.simplex import simplex as simplex
    from tabular.spaces.softmax import softmax_space as softmax_space

_HOMES = {
    "bandits": ("Bandit", "make_bandit"),
    "games": ("Game", "make_game", "with_beta"),
    "many": ("grid", "run_many"),
    "mdps.mdp": ("MDP", "make_mdp"),
    "mdps.segment_space": ("fresh_segments", "offline_segments", "segment_space"),
    "mdps.segments": ("labelled_segments",),
    "metrics": ("measure",),
    "oracle": ("exact", "labelled", "offline", "sampled"),
    "preferences": ("load_preferences",),
    "readers.reference": ("load_reference",),
    "replay": ("counts",),
    "runner": ("Axes", "Measure", "Trace", "run"),
    "solution": ("Solution", "solve"),
    "spaces.bounded": ("bounded_rewards",),
    "spaces.finite_class": ("finite_class",),
    "spaces.linear": ("linear_rewards_space",),
    "spaces.network": ("network_space",),
    "spaces.simplex": ("simplex",),
    "spaces.softmax": ("softmax_space",),
}
__all__ = sorted(["families", *(name for names in _HOMES.values() for name in names)])


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name == "families":
        return importlib.import_module("tabular.families")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"tabular.{module}"), name)
    raise AttributeError(f"module 'tabular' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return __all__
