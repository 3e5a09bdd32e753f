"""Two nested models of P(a ≻ b | prompt): Bradley-Terry, and a general one that may go round in circles.

Both are ridge-penalised logistic regressions, hence convex problems with one solution:

    logit P(a ≻ b | x) = r_x(a) - r_x(b) + c_x(a, b),        c_x(a, b) = -c_x(b, a),

with c = 0 for Bradley-Terry. For answers that occur under every prompt (systems) r and c are tables, shared
by the prompts plus a part of each prompt's own; for texts r = w·φ and c = φ(a)ᵀ W φ(b) with W skew, where φ
are features. (With a constant among the features the row of W that belongs to it is w: Bradley-Terry is the
skew form of rank 2 that pairs every feature with the constant.)

Each part (a *block* of columns) has a Gaussian prior; its standard deviation is the block's *scale*, chosen
by cross-validation, and a scale of 0 leaves the block out. So the general model can always decide to be
Bradley-Terry.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, sparse
from scipy.optimize import minimize
from scipy.special import expit

from nlhf.errors import InputError
from tabular.people.vote_cells import Cells, Counts

Block = Any  # [M, D] dense or sparse

GRADIENT_TOLERANCE = 1e-3  # of the norm, in units of one over a prior standard deviation
MAX_ITERATIONS = 500
PATIENCE = 2
NEGLIGIBLE = 1e-6  # relative; a scale has to lower the held-out loss by more to replace a smaller one


class Blocks(NamedTuple):
    """Columns of the two models; a row belongs to a cell and changes its sign with the order of its pair.

    Attributes:
      score: blocks of r, the columns of Bradley-Terry.
      skew: blocks of c, which the general model adds.
    """

    score: tuple[Block, ...]
    skew: tuple[Block, ...]


class Fit(NamedTuple):
    """A fitted model.

    Attributes:
      scales: prior standard deviation of each block, in logits per unit of the block's columns.
      logit: ``[M]`` logit P(first ≻ second) in every cell.
      coefficients: of each block, in the same units; ``None`` where the scale is 0.
    """

    scales: tuple[float, ...]
    logit: np.ndarray
    coefficients: tuple[np.ndarray | None, ...]


def table_blocks(cells: Cells) -> Blocks:
    """Blocks for answers that occur under several prompts: tables, shared and by prompt.

    The score blocks have a column an answer, and one a prompt and answer; the skew blocks a column a pair,
    and one a prompt and pair.
    """
    num_cells, size = len(cells.prompt), int(cells.second.max()) + 1
    row = np.arange(num_cells)
    pair = cells.first * size + cells.second

    def columns(*signed: tuple[np.ndarray, float]) -> sparse.csr_matrix:
        keys = np.concatenate([key for key, _ in signed])
        values = np.concatenate([np.full(num_cells, sign) for _, sign in signed])
        number = np.unique(keys, return_inverse=True)[1]
        return sparse.csr_matrix((values, (np.tile(row, len(signed)), number)))

    own = cells.prompt * size
    return Blocks(
        (
            columns((cells.first, 1.0), (cells.second, -1.0)),
            columns((own + cells.first, 1.0), (own + cells.second, -1.0)),
        ),
        (columns((pair, 1.0)), columns((cells.prompt * size * size + pair, 1.0))),
    )


def feature_blocks(cells: Cells, features: np.ndarray) -> Blocks:
    """Blocks for answers with features: φ(a) - φ(b), and the minors φ_i(a) φ_j(b) - φ_j(a) φ_i(b), i < j.

    Args:
      features: ``[A, D]``, of about unit variance; two at least, for one cannot turn.

    Raises:
      InputError: if there are fewer than two features, or a value is not finite.
    """
    if features.ndim != 2 or features.shape[1] < 2 or not np.isfinite(features).all():
        raise InputError(
            f"the features have the shape {features.shape}; give finite numbers, two columns or more"
        )
    one, other = features[cells.first], features[cells.second]
    low, high = np.triu_indices(features.shape[1], 1)
    return Blocks((one - other,), (one[:, low] * other[:, high] - one[:, high] * other[:, low],))


def log_loss(logit: np.ndarray, counts: Counts) -> float:
    """Sum over the votes of -[y log σ(f) + (1 - y) log(1 - σ(f))], in nats; a tie is y = 1/2."""
    return float(np.sum(counts.total * np.logaddexp(0.0, logit) - counts.wins * logit))


def fit(blocks: Sequence[Block], scales: Sequence[float], counts: Counts) -> Fit:
    """Minimise ``log_loss(Σ_b s_b X_b z_b) + Σ_b |z_b|²/2``; the coefficients are ``s_b z_b``.

    By SciPy's trust-region Newton method with conjugate gradients. The objective is 1-strongly convex, so a
    gradient of norm g leaves z within g of the minimiser and the loss within g²/2 nats of the minimum.

    Args:
      blocks: matrices ``[M, D_b]``.
      scales: prior standard deviations s_b >= 0; 0 leaves the block out.
      counts: the votes, ``[M]``.

    Raises:
      InputError: if a scale is negative or not finite, or there is not one a block.
      ArithmeticError: if the norm of the gradient does not come down to 1e-3.
    """
    if len(scales) != len(blocks) or not all(math.isfinite(scale) and scale >= 0 for scale in scales):
        raise InputError(
            f"the scales are {tuple(scales)}; give a number >= 0 for each of {len(blocks)} blocks"
        )
    seen = np.flatnonzero(counts.total)
    kept = [index for index, scale in enumerate(scales) if scale > 0]
    coefficients: list[np.ndarray | None] = [None] * len(blocks)
    full = np.zeros(len(counts.total))
    if kept and len(seen):
        parts = [scales[index] * blocks[index][seen] for index in kept]
        solution = _minimise(_stack(parts), Counts(counts.total[seen], counts.wins[seen]))
        ends = np.cumsum([part.shape[1] for part in parts])[:-1]
        for index, piece in zip(kept, np.split(solution, ends), strict=True):
            coefficients[index] = scales[index] * piece
            full += blocks[index] @ coefficients[index]
    return Fit(tuple(scales), full, tuple(coefficients))


def _stack(parts: list[Block]) -> Block:
    return sparse.hstack(parts, format="csr") if sparse.issparse(parts[0]) else np.hstack(parts)


def _minimise(columns: Block, counts: Counts) -> np.ndarray:
    touched = np.flatnonzero(_touched(columns))  # the others' coefficients are 0
    solution = np.zeros(columns.shape[1])
    columns = columns[:, touched]
    turned = columns.T.tocsr() if sparse.issparse(columns) else columns.T

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        logit = columns @ z
        slope = counts.total * expit(logit) - counts.wins
        return log_loss(logit, counts) + 0.5 * float(z @ z), turned @ slope + z

    @functools.lru_cache(maxsize=1)  # conjugate gradients ask for many products at one place
    def weight(place: bytes) -> np.ndarray:
        chance = expit(columns @ np.frombuffer(place))
        return counts.total * chance * (1 - chance)

    def curvature(z: np.ndarray, direction: np.ndarray) -> np.ndarray:
        return turned @ (weight(z.tobytes()) * (columns @ direction)) + direction

    found = minimize(
        objective,
        np.zeros(len(touched)),
        jac=True,
        hessp=curvature,
        method="trust-ncg",
        options={"gtol": GRADIENT_TOLERANCE, "maxiter": MAX_ITERATIONS},
    )
    size = float(np.linalg.norm(found.jac))
    if not size <= GRADIENT_TOLERANCE:
        raise ArithmeticError(
            f"the fit stopped at a gradient of {size:.1e} after {found.nit} steps, above "
            f"{GRADIENT_TOLERANCE:g}; give smaller scales"
        )
    solution[touched] = found.x
    return solution


def _touched(columns: Block) -> np.ndarray:
    """Which columns have an entry other than 0."""
    if sparse.issparse(columns):
        return np.bincount(columns.indices, columns.data != 0, minlength=columns.shape[1]) > 0
    return (columns != 0).any(0)


def select(
    blocks: Sequence[Block],
    scales: Sequence[float],
    free: Sequence[int],
    grid: Sequence[float],
    folds: Counts,
) -> tuple[float, ...]:
    """Choose scales by cross-validation, one block after the other.

    Each free block takes the value of the grid with the smallest held-out ``log_loss``, the smaller one
    where two are equal; blocks chosen before it keep theirs, later ones wait at the scale given. The search
    goes up the grid and ends after two values in a row that are no better: the larger ones take longest.

    Args:
      blocks: matrices ``[M, D_b]``.
      scales: the scales to start from.
      free: indices of the blocks to choose for, in order.
      grid: candidates, >= 0.
      folds: ``[K, M]`` votes of each fold, K >= 2: every fold is held out once.

    Raises:
      InputError: if there is only one fold, or the grid is empty.
    """
    if folds.total.ndim != 2 or len(folds.total) < 2 or not len(grid):
        raise InputError(
            f"votes of shape {folds.total.shape} and {len(grid)} scales; give [K, M] with K >= 2, and a scale"
        )
    voted = np.flatnonzero(folds.total.sum(0))
    blocks = [block[voted] for block in blocks]
    folds = Counts(folds.total[:, voted], folds.wins[:, voted])
    rest = [Counts(folds.total.sum(0) - t, folds.wins.sum(0) - w) for t, w in zip(*folds, strict=True)]
    chosen = list(scales)
    for block in free:
        best, worse = (math.inf, chosen[block]), 0
        for scale in sorted(grid):
            trial = [*chosen[:block], float(scale), *chosen[block + 1 :]]
            loss = sum(
                log_loss(fit(blocks, trial, train).logit, Counts(t, w))
                for train, t, w in zip(rest, *folds, strict=True)
            )
            if loss < best[0] * (1 - NEGLIGIBLE):
                best, worse = (loss, float(scale)), 0
            else:
                worse += 1
            if worse == PATIENCE:
                break
        chosen[block] = best[1]
    return tuple(chosen)


def num_parameters(blocks: Sequence[Block], fitted: Fit, counts: Counts) -> int:
    """Number of columns that the votes touch, in blocks that are not left out."""
    seen = np.flatnonzero(counts.total)
    return sum(
        int(_touched(block[seen]).sum())
        for block, scale in zip(blocks, fitted.scales, strict=True)
        if scale > 0
    )


def degrees_of_freedom(blocks: Sequence[Block], fitted: Fit, counts: Counts) -> float:
    """Effective number of parameters, ``tr[H (H + I)^-1]`` with H the curvature of the votes in scaled units.

    Args:
      blocks: matrices ``[M, D_b]``.
      fitted: a fit to the same blocks and counts.
      counts: the votes, ``[M]``.

    Reference: textbook ridge regression (Hastie, Tibshirani and Friedman, section 3.4.1), with the weights of
      the last iteration of Newton's method.
    """
    seen = np.flatnonzero(counts.total)
    chance = expit(fitted.logit[seen])
    weight = np.sqrt(counts.total[seen] * chance * (1 - chance))
    kept = [scale * block for block, scale in zip(blocks, fitted.scales, strict=True) if scale > 0]
    if not kept or not len(seen):
        return 0.0
    columns = _stack(kept)[seen]
    columns = sparse.diags_array(weight) @ columns if sparse.issparse(columns) else weight[:, None] * columns
    # both Gram matrices have the same eigenvalues but for zeros: the smaller one is taken
    columns = columns.T if columns.shape[1] < columns.shape[0] else columns
    gram = columns @ columns.T
    gram = gram.toarray() if sparse.issparse(gram) else gram
    # tr[G (G + I)^-1] = n - tr (G + I)^-1, and the latter is the squared Frobenius norm of L^-1
    lower = linalg.cholesky(gram + np.eye(len(gram)), lower=True)
    inverse = linalg.solve_triangular(lower, np.eye(len(gram)), lower=True)
    return float(len(gram) - np.sum(inverse**2))
