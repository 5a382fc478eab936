"""Bradley-Terry ratings with a tie as half a win: Newton on the pair counts, intervals by sandwich
covariance.

The model is P(i beats j) = 1 / (1 + exp(t_j - t_i)) (Bradley & Terry, 1952); a rating is
`mean + scale/ln(10) * t`. Half wins are not what the model would generate, so its Fisher information
overstates the variance; the sandwich H^-1 G H^-1 (White, 1982) does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.special import expit, log_expit, logit, ndtri

from results.ratings._threads import one_thread
from results.ratings.counts import Floats, Ints, PairCounts
from results.ratings.rateability import Rateability, Status, rateability

MEAN, SCALE = 1000.0, 400.0
_NEAR, _LONGEST = 0.5, 4.0


@dataclass(frozen=True, eq=False)
class BradleyTerry:
    """Fitted ratings of n models; arrays have shape (n,) unless said otherwise.

    Where `status` is not "rated", `ratings` is NaN, and `lower` (undefeated) or `upper` (winless) may hold a
    one-sided bound at the same level. `covariance` (n, n) is that of the ratings, in squared rating points,
    NaN outside the rated models. `component` is that of `Rateability`. `steps` counts Newton steps.
    """

    ratings: Floats
    lower: Floats
    upper: Floats
    covariance: Floats
    status: tuple[Status, ...]
    component: Ints
    level: float
    scale: float
    steps: int

    @property
    def rated(self) -> Ints:
        """Indices of the rated models, ascending."""
        return np.flatnonzero(np.isfinite(self.ratings))


@dataclass(frozen=True)
class Prediction:
    """Probability that one model beats another (a tie counts half), with its interval."""

    probability: float
    lower: float
    upper: float


def bradley_terry(counts: PairCounts, *, level: float = 0.95, mean: float = MEAN, scale: float = SCALE,
                  prior: float = 1.0) -> BradleyTerry:  # fmt: skip
    """Rate all models that the votes can rate; never raises for degenerate votes.

    The mean over rated models is `mean`. `level` is that of the intervals. `prior` is how many
    pseudo-comparisons of the model's own variance each model adds to the estimate of residual variance (not
    to the ratings): it keeps a handful of equal verdicts from yielding an interval of no width, and vanishes
    as votes come in. Raises ValueError for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError("level must lie between 0 and 1")
    found = rateability(counts)
    strength, spread, steps = np.empty(0), np.empty((0, 0)), 0
    if len(found.rated):
        inner = counts if len(found.rated) == counts.models else counts.subset(found.rated)
        with one_thread():
            strength, steps = maximise(inner)
            spread = sandwich(inner, strength, prior=prior)
    fit = assemble(counts, found, strength, spread, level=level, mean=mean, scale=scale, steps=steps)
    return _with_one_sided_bounds(fit, counts, strength, mean)


def assemble(
    counts: PairCounts,
    found: Rateability,
    strength: Floats,
    spread: Floats,
    *,
    level: float,
    mean: float,
    scale: float,
    steps: int,
) -> BradleyTerry:
    """Ratings of all models from the rated ones' centred strengths and covariance in natural units."""
    n, rated = counts.models, found.rated
    unit = scale / math.log(10)
    ratings, lower, upper = (np.full(n, np.nan) for _ in range(3))
    covariance = np.full((n, n), np.nan)
    if len(rated):
        half = _z(level) * unit * np.sqrt(np.diag(spread))
        ratings[rated] = mean + unit * strength
        covariance[np.ix_(rated, rated)] = spread * unit**2
        lower[rated], upper[rated] = ratings[rated] - half, ratings[rated] + half
    return BradleyTerry(ratings, lower, upper, covariance, found.status, found.component, level, scale, steps)


def _with_one_sided_bounds(
    fit: BradleyTerry, counts: PairCounts, strength: Floats, mean: float
) -> BradleyTerry:
    lower, upper, rated = fit.lower.copy(), fit.upper.copy(), fit.rated
    for i, status in enumerate(fit.status):
        if status in ("undefeated", "winless"):
            met = counts.games[i, rated]
            bound = _one_sided(strength, met, status == "undefeated", 1 - fit.level)
            (lower if status == "undefeated" else upper)[i] = mean + fit.scale / math.log(10) * bound
    return replace(fit, lower=lower, upper=upper)


def maximise(
    counts: PairCounts, start: Floats | None = None, *, tolerance: float = 1e-6
) -> tuple[Floats, int]:
    """Natural-unit strengths (n,) of mean zero at the maximum of the likelihood, and the Newton steps it
    took.

    The models must be rateable together (`rateability`). Steps end when one is below `tolerance`; as they
    converge quadratically, what is left is far smaller. Raises RuntimeError where 200 steps are not enough.
    """
    score = counts.wins + counts.ties / 2
    games = counts.games
    t = _first_guess(score) if start is None else start - start.mean()
    for step in range(1, 201):
        lost = losing(t)
        missed = score * lost
        move = _newton_move(laplacian(games * lost * lost.T), missed.sum(axis=1) - missed.sum(axis=0))
        largest = float(np.abs(move).max())
        # Near the maximum a full step is right; farther away it may overshoot and is checked.
        t = t + (move if largest < _NEAR else _searched(score, t, move, largest))
        t -= t.mean()
        if largest < tolerance * max(1.0, float(np.abs(t).max())):
            return t, step
    raise RuntimeError("Bradley-Terry did not converge in 200 Newton steps; please report these counts")


def losing(strength: Floats) -> Floats:
    """The probabilities (n, n) that i loses to j. Those that i wins are the transpose, which is more exact than 1 - p
    where p is near 1."""
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(strength[:, None] - strength[None, :])))


def _first_guess(score: Floats) -> Floats:
    """Strengths if everybody had met opponents of mean strength: saves Newton a step or two."""
    won, lost = score.sum(axis=1), score.sum(axis=0)
    guess = np.clip(np.log((won + 0.5) / (lost + 0.5)), -2.0, 2.0)
    return np.asarray(guess - guess.mean())


def sandwich(counts: PairCounts, strength: Floats, *, prior: float = 0.0) -> Floats:
    """Covariance (n, n) of the centred strengths, in natural units: H^+ G H^+ with H the information and G
    the summed outer products of the comparisons' scores (of squared weights, where they are weighted)."""
    q = losing(strength)
    p = q.T
    games, squares = counts.games, counts.wins_squares + counts.wins_squares.T + counts.ties_squares
    half, won = 0.5 - q, counts.wins_squares * q * q
    residual = won + won.T + counts.ties_squares * half * half
    if prior:
        share = squares.sum(axis=1) / games.sum(axis=1) ** 2
        residual = residual + prior * p * q * squares * (share[:, None] + share[None, :]) / 2
    bread = pseudo_inverse(laplacian(games * p * q))
    return np.asarray(bread @ laplacian(residual) @ bread)


def laplacian(weights: Floats) -> Floats:
    """The graph Laplacian of a symmetric weight matrix (n, n)."""
    matrix = -weights
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix


def pseudo_inverse(matrix: Floats) -> Floats:
    """The pseudo-inverse of a connected graph's Laplacian (null space: the constant vector)."""
    n = len(matrix)
    lift = np.trace(matrix) / n / n
    inverse = _inverse(matrix + lift)
    return np.asarray(inverse - inverse.mean(axis=1, keepdims=True) - inverse.mean(axis=0) + inverse.mean())


def _inverse(matrix: Floats) -> Floats:
    """Of a positive definite matrix, by its Cholesky factor: half the work of any other."""
    factor, failed = dpotrf(matrix, lower=0, clean=0)
    half, failed_too = dpotri(factor, lower=0)
    if failed or failed_too:
        return np.asarray(np.linalg.inv(matrix))
    upper = np.triu(half)
    return np.asarray(upper + np.triu(upper, 1).T)


def predict(fit: BradleyTerry, a: int, b: int) -> Prediction:
    """P(a beats b) with its interval at the fit's level (normal on the logit).

    Raises ValueError where a and b are one model or either is not rated.
    """
    if a == b:
        raise ValueError("a model cannot meet itself")
    if not (math.isfinite(fit.ratings[a]) and math.isfinite(fit.ratings[b])):
        raise ValueError("P(A beats B) needs two rated models")
    unit = fit.scale / math.log(10)
    gap = (fit.ratings[a] - fit.ratings[b]) / unit
    variance = fit.covariance[a, a] + fit.covariance[b, b] - 2 * fit.covariance[a, b]
    half = _z(fit.level) * math.sqrt(max(variance, 0.0)) / unit
    return Prediction(*(float(expit(x)) for x in (gap, gap - half, gap + half)))


def _z(level: float) -> float:
    return float(ndtri(0.5 + level / 2))


def _log_likelihood(score: Floats, t: Floats) -> float:
    return float((score * log_expit(t[:, None] - t[None, :])).sum())


def _searched(score: Floats, t: Floats, move: Floats, largest: float) -> Floats:
    """The step, shortened to a few units and halved until the likelihood does not fall."""
    before = _log_likelihood(score, t)
    shrink = min(1.0, _LONGEST / largest)
    # Rounding noise of the sum is no reason to halve; a real overshoot is.
    while _log_likelihood(score, t + shrink * move) < before - 1e-9 * abs(before) and shrink > 1e-6:
        shrink /= 2
    return shrink * move


def _newton_move(information: Floats, gradient: Floats) -> Floats:
    n = len(gradient)
    level = max(float(np.trace(information)) / n, 1e-300)
    lifted = information + level / n
    for ridge in (0.0, 1e-12, 1e-8, 1e-4):
        # A ridge changes the way, not the end: the step is zero only where the gradient is.
        try:
            factor = cho_factor(lifted + ridge * level * np.eye(n), check_finite=False)
        except LinAlgError:
            continue
        return np.asarray(cho_solve(factor, gradient, check_finite=False))
    raise RuntimeError("the information matrix of these counts is not positive definite; please report them")


def _one_sided(strength: npt.NDArray[np.float64], met: Floats, won: bool, risk: float) -> float:
    """The strength at which winning (or losing) all of `met` comparisons had probability `risk`, opponents'
    strengths taken as known; NaN where there were none. With one opponent it is the Clopper-Pearson bound."""
    if not met.any():
        return math.nan
    sign = 1.0 if won else -1.0
    theirs = sign * strength[met > 0]
    weight = met[met > 0]
    # Against opponents all as strong as the weakest (strongest), the bound is known in closed form.
    single = logit(risk ** (1 / weight.sum()))
    low, high = float(theirs.min() + single), float(theirs.max() + single)
    for _ in range(80):
        middle = (low + high) / 2
        if (weight * log_expit(middle - theirs)).sum() < math.log(risk):
            low = middle
        else:
            high = middle
    return sign * (low + high) / 2
