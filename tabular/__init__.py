"""The microscope: games small enough to be solved exactly, and the instruments to look at them.

The first program finds the Nash policy of a game, and draws how an algorithm comes to it under its bound:

>>> import nlhf, tabular
>>> nlhf.setup()
>>> game = tabular.make_game(tabular.families.biased_rock_paper_scissors(), beta=0.1)
>>> nash = tabular.solve(game)
>>> trace = tabular.run(nlhf.default("egpo", game.beta), game, num_steps=400, log_nash=nash)
>>> axes = trace.plot(bound=True)
>>> bool(trace.of("kl_to_nash")[-1] < 1e-12)
True

Names load on first use, so that a command line can answer before JAX is imported.
"""

from nlhf.faces import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Axes": "tabular.runner",
        "Bandit": "tabular.bandits",
        "Game": "tabular.games",
        "MDP": "tabular.mdps.mdp",
        "Measure": "tabular.traces",
        "Solution": "tabular.solution",
        "Trace": "tabular.traces",
        "bounded_rewards": "tabular.spaces.bounded",
        "counts": "tabular.replay",
        "exact": "tabular.oracle",
        "families": "tabular.families",
        "finite_class": "tabular.spaces.finite_class",
        "fresh_segments": "tabular.mdps.segment_space",
        "grid": "tabular.many",
        "labelled": "tabular.oracle",
        "labelled_segments": "tabular.mdps.segments",
        "linear_rewards_space": "tabular.spaces.linear",
        "load_preferences": "tabular.preferences",
        "load_reference": "tabular.readers.reference",
        "make_bandit": "tabular.bandits",
        "make_game": "tabular.games",
        "make_mdp": "tabular.mdps.mdp",
        "measure": "tabular.metrics",
        "network_space": "tabular.spaces.network",
        "offline": "tabular.oracle",
        "offline_segments": "tabular.mdps.segment_space",
        "plot_traces": "tabular.traces",
        "run": "tabular.runner",
        "run_many": "tabular.many",
        "sampled": "tabular.oracle",
        "segment_space": "tabular.mdps.segment_space",
        "simplex": "tabular.spaces.simplex",
        "softmax_space": "tabular.spaces.softmax",
        "solve": "tabular.solution",
        "with_beta": "tabular.games",
    },
)
