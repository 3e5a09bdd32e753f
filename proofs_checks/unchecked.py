"""What numbers on tables cannot decide, each with its reason: the ledger has no silent gaps.

Three kinds: figures about language models; statements over all methods, or in orders without constants; and
theorems whose text we have not read, whose derived counterparts are rows of their own.
"""

from __future__ import annotations

from proofs_checks.rows import Check, check_of

MODELS = "needs language models, a judge and their data; no table of preferences decides it"
NOT_READ = "the theorem's text was not available to us, and we do not judge what we have not read"
NO_CONSTANT = "an order without constants is obeyed by any finite set of runs"


def _row(
    name: str,
    source: str,
    statement: str,
    reason: str,
    status: str = "published, not read",
    assumes: str = "-",
) -> Check:
    return check_of(name, statement, assumes, None, status, source, kind="unchecked", reason=reason)


_LANGUAGE_MODELS = (
    _row(
        "nash_md.summarisation",
        "arXiv:2312.00886, its tables of win rates",
        "win rates of Nash-MD, self-play and RLHF policies on TL;DR summarisation",
        f"{MODELS}; one printed table is a game here, tabular/data/, and its equilibrium is solved",
        "empirical",
    ),
    _row(
        "ipo_md.summarisation",
        "arXiv:2403.08635, its table of win rates",
        "win rates of IPO-MD and online IPO against DPO, Nash-MD-PG, SLiC and RL",
        MODELS,
        "empirical",
    ),
    _row(
        "egpo.language_models",
        "arXiv:2503.08942, its tables of win rates",
        "EGPO's win rates on Gemma-2-2B-it and Qwen2.5-1.5B-Instruct",
        MODELS,
        "empirical",
    ),
    _row(
        "proximal_point.comal_language_models",
        "arXiv:2410.23223, its table of win rates",
        "COMAL's win rates on Llama-3-8B-Instruct and Qwen2.5-7B",
        MODELS,
        "empirical",
    ),
    _row(
        "nash_prox.language_models",
        "arXiv:2505.19731v2, its tables of win rates",
        "Nash Prox's win rates on language models",
        f"{MODELS}; nor were the tables available to us",
        "empirical",
    ),
)

_ALL_METHODS = (
    _row(
        "game.matrix_vector_upper_bound",
        "arXiv:2601.02347, as its abstract says",
        "β = 0: some method finds an ε-Nash policy with O~(ε^(-2/3)) products P π",
        f"{NO_CONSTANT}, and that method is not implemented here",
    ),
    _row(
        "game.matrix_vector_lower_bound",
        "as cited by arXiv:2601.02347",
        "β = 0: no method that sees products P π alone needs fewer than Ω~(ε^(-2/3)) of them",
        "it speaks of every method: running one, or eight, proves nothing about the others",
    ),
    _row(
        "game.one_query_limit",
        "derived for methods of Krylov type, near equilibrium",
        "no one-query method's error falls by more than k/(1 + √(1 + k²)) a query, k = s/β",
        "it speaks of every method of a class: running some of them proves nothing about the others",
        "derived",
        "s the largest |eigenvalue| of P - 1/2 at the equilibrium",
    ),
    _row(
        "nash_mirror_prox.best_published_rate",
        "survey of the papers named in this ledger",
        "no published policy-space method has a faster proved last-iterate rate in β and queries alone",
        "it speaks of the literature, which grows",
        "empirical",
    ),
)

_ORDERS = (
    _row(
        "nash_mirror_prox.published_order",
        "arXiv:2505.19731v1, as its abstract says",
        "KL, exploitability and span after N queries are O((1 + 2β)^(-N/2)/β)",
        f"{NO_CONSTANT}; with derived constants it is nash_mirror_prox.kl and its siblings, but for the "
        "span, whose derived rate is half of that",
    ),
    _row(
        "omwu.optimistic_average_order",
        "arXiv:2502.16852 (ONPO), as its abstract says",
        "β = 0: the average policy's duality gap is O(1/T)",
        f"{NO_CONSTANT}; with a constant that we derive it is omwu.average",
    ),
)

_NOT_READ = (
    _row(
        "egpo.published_constants",
        "arXiv:2503.08942",
        "last-iterate linear rate, with the constants and the step size of the paper",
        f"{NOT_READ}; the derived form, on a step range of our own, is egpo.kl",
    ),
    _row(
        "egpo.published_noise",
        "arXiv:2503.08942",
        "last-iterate rate under noisy payoffs, down to a floor",
        f"{NOT_READ}; the floor that noise leaves is measured in rows of kind noise",
    ),
    _row(
        "nash_mirror_prox.policy_gradient",
        "arXiv:2505.19731v1",
        "rate of the version whose proximal steps are stochastic policy gradients",
        NOT_READ,
    ),
    _row(
        "nash_prox.high_probability",
        "arXiv:2505.19731v2, as its abstract says",
        "high-probability last-iterate rate of self-play policy gradient and of its proximal loop",
        f"{NOT_READ}; the outer loop with exact inner games is nash_prox.kl",
    ),
    _row(
        "mpo.linear_rate",
        "arXiv:2410.16714",
        "linear convergence to the Nash policy",
        "as far as we know it is about the inner regularised game; no rate to the original game's Nash "
        "policy is known to us, so there is no bound to compare with",
    ),
    _row(
        "omwu.published_linear_rate",
        "arXiv:2512.24818, as its abstract says",
        "β = 0: the last iterate converges linearly where the Nash policy has full support",
        "its constants depend on the game and their text was not available to us; the local slope is derived "
        "and measured in a row of kind scaling",
        assumes="a Nash policy of full support, which games with an even number of actions hardly ever have",
    ),
    _row(
        "online_mirror_descent.self_play_variants",
        "INPO (arXiv:2407.00617), SPO and SPPO",
        "losses, step sizes and average-iterate rates as those papers print them",
        "we know them at second hand; the common population step and its average's bound are "
        "online_mirror_descent.average",
    ),
    _row(
        "nash_md.moving_average_opponent",
        "arXiv:2312.00886, the EMA variant",
        "the opponent is (1 - β) θ_t + β θ_0 as printed, or the recursion that text and sweep suggest",
        "which of two readings was meant is a question to the authors, not to a computer",
        "empirical",
    ),
)

CHECKS: tuple[Check, ...] = _LANGUAGE_MODELS + _ALL_METHODS + _ORDERS + _NOT_READ
