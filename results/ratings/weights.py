"""What each comparison weighs: by age, by how much of one voter or prompt there is, by how its pair was
drawn.

Each function gives an array of shape (rows,); multiply them to combine. Pass the product as `weight` to
`PairCounts.of` or `rate_with_style`, whose sandwich intervals take unequal weights into account.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from results.ratings.counts import Floats


def window_weights(time: npt.ArrayLike, *, start: float = -np.inf, end: float = np.inf) -> Floats:
    """1 for `start` <= time < `end`, else 0; times in any one unit."""
    when = np.asarray(time, dtype=np.float64)
    return np.asarray(((when >= start) & (when < end)).astype(np.float64))


def decay_weights(time: npt.ArrayLike, *, now: float, half_life: float) -> Floats:
    """Half the weight for each `half_life` that a comparison lies before `now`; 1 for later ones.

    Raises ValueError for a half-life that is not positive.
    """
    if not half_life > 0:
        raise ValueError("half_life must be positive")
    age = np.maximum(now - np.asarray(time, dtype=np.float64), 0.0)
    return np.asarray(np.exp2(-age / half_life))


def capped_weights(group: npt.ArrayLike, cap: float, weight: npt.ArrayLike | None = None) -> Floats:
    """Scale each group's rows down so that together they weigh at most `cap`.

    `group` numbers the voter, or the prompt, of each row from 0; -1 stands for unknown and is not capped.
    `weight` is what rows weigh before (default 1). Raises ValueError for a cap that is not positive.
    """
    if not cap > 0:
        raise ValueError("cap must be positive")
    groups = np.asarray(group, dtype=np.int64)
    before = np.ones(len(groups)) if weight is None else np.asarray(weight, dtype=np.float64)
    total = np.bincount(groups + 1, before)
    share = np.ones(len(total))
    np.divide(cap, total, out=share, where=total > cap)
    share[0] = 1.0
    return np.asarray(before * share[groups + 1])


def inverse_probability_weights(probability: npt.ArrayLike, *, largest: float = 20.0) -> Floats:
    """1 / selection probability, scaled to mean 1 and trimmed at `largest` (before it is scaled to mean 1
    again).

    Under uneven matchmaking, this rates models as if all ordered pairs were equally likely (Horvitz &
    Thompson, 1952); trimming trades a little bias for much variance. Raises ValueError for probabilities
    outside (0, 1].
    """
    p = np.asarray(probability, dtype=np.float64)
    if not ((p > 0) & (p <= 1)).all():
        raise ValueError("selection probabilities must lie in (0, 1]; leave out comparisons that have none")
    if not len(p):
        return np.empty(0)
    weight = 1 / p
    weight = np.minimum(weight / weight.mean(), largest)
    return np.asarray(weight / weight.mean())
