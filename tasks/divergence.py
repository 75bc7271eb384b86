"""Jensen-Shannon divergence of histograms, and how large a stability index chance alone makes."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr
from scipy.stats import chi2


def jensen_shannon(new: NDArray[np.int64], old: NDArray[np.int64]) -> float:
    """Divergence of two histograms `[bins]` in bits, 0 (equal shares) to 1 (no bin in common); 0 where one is empty.

    Lin, Divergence measures based on the Shannon entropy, IEEE Transactions on Information Theory 1991. It needs no
    smoothing, as every bin that one side has is in the mixture.
    """
    if new.sum() == 0 or old.sum() == 0:
        return 0.0
    p, q = new / new.sum(), old / old.sum()
    mixed = (p + q) / 2
    bits = (rel_entr(p, mixed).sum() + rel_entr(q, mixed).sum()) / 2 / np.log(2)
    return float(np.clip(bits, 0.0, 1.0))


def chance_index(new: NDArray[np.int64], old: NDArray[np.int64], *, significance: float) -> float:
    """The stability index (PSI) that two samples of one distribution exceed with probability `significance`.

    `(1/n + 1/m) chi2(bins - 1)` for independent rows (Yurdakul and Naranjo, Statistical properties of the population
    stability index, Journal of Risk Model Validation 2020). Rows of one viewer are not independent, so days differ by
    more than that.
    """
    bins = int(((new + old) > 0).sum())
    if bins < 2 or new.sum() == 0 or old.sum() == 0:
        return 0.0
    return float((1 / new.sum() + 1 / old.sum()) * chi2.ppf(1 - significance, bins - 1))


def chance_divergence(new: NDArray[np.int64], old: NDArray[np.int64], *, significance: float) -> float:
    """The like of `chance_index` for the Jensen-Shannon divergence, in bits.

    Near equality the divergence is an eighth of the index, in nats (both are quadratic in the shares' difference).
    """
    return chance_index(new, old, significance=significance) / 8 / float(np.log(2))
