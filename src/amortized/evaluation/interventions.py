r"""Scores from data that share one factor: those of beta-VAE and FactorVAE.

    beta-VAE    mean_l |z_l - z'_l| over L pairs that share factor k: a linear classifier tells k       Higgins et al. 2017
    FactorVAE   argmin_j var_l(z_lj) / var(z_j) over L data that share a value of factor k: the         Kim and Mnih 2018,
                dimension that varies least, from which k is told by majority                           arXiv 1802.05983

Both are accuracies on votes that were not learned from, 1/F by chance. The papers draw new data for each; here they are rows of
the table of all encoded data. A collapsed dimension does not take part: its variance over all data is all noise, and divided by
it so is its vote. A code of collapsed dimensions alone scores 0, not chance.
"""

import numpy as np
from numpy.typing import NDArray

from amortized.evaluation.factors import FactorTable

VOTES = 5_000
"""Votes that are learned from; half as many are scored."""
ROWS = 64
"""The number L of pairs, or of data, of a vote."""
AT_ONCE = 1_000


def betavae_score(table: FactorTable, seed: int) -> float:
    """The accuracy with which a logistic regression tells the shared factor from the mean differences."""
    from sklearn.linear_model import LogisticRegression

    if not table.active.any():
        return 0.0
    noise, z = np.random.default_rng(seed), _scaled(table)
    factors = noise.integers(len(table.names), size=VOTES + VOTES // 2)
    features = np.zeros((len(factors), z.shape[1]))
    for factor, votes in _parts(factors, len(table.names)):
        one = noise.integers(len(z), size=(len(votes), ROWS))
        other = table.alike(one, factor, noise)
        features[votes] = np.abs(z[one] - z[other]).mean(1)
    classifier = LogisticRegression(C=100.0, max_iter=2000, tol=1e-3).fit(features[:VOTES], factors[:VOTES])
    return float(np.mean(classifier.predict(features[VOTES:]) == factors[VOTES:]))


def factorvae_score(table: FactorTable, seed: int) -> float:
    """The accuracy with which the dimension that varies least tells the shared factor, by majority."""
    if not table.active.any():
        return 0.0
    noise, z = np.random.default_rng(seed), _scaled(table)
    factors = noise.integers(len(table.names), size=VOTES + VOTES // 2)
    least = np.zeros(len(factors), dtype=np.int64)
    for factor, votes in _parts(factors, len(table.names)):
        first = noise.integers(len(z), size=(len(votes), 1))
        rows = table.alike(np.broadcast_to(first, (len(votes), ROWS)), factor, noise)
        least[votes] = z[rows].var(1).argmin(1)
    counts = np.zeros((z.shape[1], len(table.names)), dtype=np.int64)
    np.add.at(counts, (least[:VOTES], factors[:VOTES]), 1)
    return float(np.mean(counts.argmax(1)[least[VOTES:]] == factors[VOTES:]))


def _scaled(table: FactorTable) -> NDArray[np.float64]:
    """(N, active dimensions) the code with variance 1 in each."""
    z = table.z[:, table.active]
    return z / z.std(0)


def _parts(factors: NDArray[np.int64], number: int) -> list[tuple[int, NDArray[np.int64]]]:
    """The places of each factor, some at a time."""
    places = [(factor, np.flatnonzero(factors == factor)) for factor in range(number)]
    return [(factor, part) for factor, all_ in places for part in np.split(all_, range(AT_ONCE, len(all_), AT_ONCE))]
