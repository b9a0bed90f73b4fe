r"""Scores from predicting the factors: SAP and DCI.

    SAP   mean_k ( S_j1k - S_j2k ),  S_jk the balanced accuracy with which z_j alone tells factor k     Kumar et al. 2018,
                                                                                                        arXiv 1711.00848
As in the paper, S_jk is that of thresholds on z_j (a decision tree with a leaf for each value of the factor, fitted on one half
of the rows and scored on another). A dimension that knows nothing of a factor still tells 1/V of its V values right, so the best
score is mean_k (1 - 1/V_k), not 1; and so does one that is collapsed, for which the paper has 0: then chance would score as if
it were information, wherever one dimension alone is not collapsed.

    DCI   R_jk the importance of z_j in predicting factor k                                             Eastwood and Williams 2018
    disentanglement  sum_j rho_j ( 1 - H_F(R_j. / sum_k R_jk) ),  rho_j = sum_k R_jk / sum_jk R_jk
    completeness     mean_k ( 1 - H_D(R_.k / sum_j R_jk) )
    informativeness  mean_k ( accuracy_k - chance_k ) / ( 1 - chance_k )

with H_n the entropy to the base n. The importances are those of gradient-boosted trees (scikit-learn's
GradientBoostingClassifier), with which a perfect code scores 1; the trees of a random forest split on dimensions drawn at random,
and with them it does not. The accuracy is on rows that the trees were not fitted on, and chance_k is that of the most frequent
value: a constant code has no information, and scores 0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amortized.evaluation.factors import FactorTable

SAP_ROWS = 5_000
DCI_ROWS = 2_000
"""Rows that are fitted, and as many that are scored; at most half of those there are."""
TREES = {"n_estimators": 10, "max_depth": 3, "learning_rate": 0.5}


def sap(table: FactorTable, seed: int) -> float:
    """The SAP score."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    fitted, scored = _halves(len(table.z), SAP_ROWS, seed)
    scores = np.tile(1 / table.sizes, (table.z.shape[1] + 1, 1))  # one more dimension, collapsed, beside a code of one
    for dimension in np.flatnonzero(table.active):
        z = table.z[:, [dimension]]
        for factor, codes in enumerate(table.codes.T):
            known = np.isin(codes[scored], codes[fitted])
            tree = DecisionTreeClassifier(max_leaf_nodes=int(codes.max()) + 1, class_weight="balanced", random_state=seed)
            found = tree.fit(z[fitted], codes[fitted]).predict(z[scored][known])
            scores[dimension, factor] = balanced_accuracy_score(codes[scored][known], found)
    ordered = np.sort(scores, axis=0)
    return float((ordered[-1] - ordered[-2]).mean())


def best_sap(table: FactorTable) -> float:
    """The SAP score of a perfect code."""
    return float((1 - 1 / table.sizes).mean())


def importances(table: FactorTable, seed: int) -> tuple[NDArray[np.float64], float]:
    """(D, F) the importance of each dimension for each factor, and the informativeness."""
    from sklearn.ensemble import GradientBoostingClassifier

    fitted, scored = _halves(len(table.z), DCI_ROWS, seed)
    found, information = np.zeros((table.z.shape[1], len(table.names))), []
    for factor, codes in enumerate(table.codes.T):
        counts = np.bincount(codes[fitted])
        if counts.max() == len(fitted):
            information.append(0.0)
            continue
        trees = GradientBoostingClassifier(**TREES, random_state=seed).fit(table.z[fitted], codes[fitted])
        found[:, factor] = np.maximum(trees.feature_importances_, 0.0)  # below 0 by rounding alone
        chance = float((codes[scored] == counts.argmax()).mean())
        accuracy = float(np.mean(trees.predict(table.z[scored]) == codes[scored]))
        information.append(max(0.0, accuracy - chance) / (1 - chance) if chance < 1 else 0.0)
    return found, float(np.mean(information))


def disentanglement_of(importance: NDArray[np.float64]) -> float:
    """How few factors a dimension serves, from importances (D, F); 0 where there are none."""
    weight = importance.sum(1)
    return float((weight * _concentration(importance)).sum() / weight.sum()) if weight.any() else 0.0


def completeness_of(importance: NDArray[np.float64]) -> float:
    """How few dimensions a factor takes, from importances (D, F)."""
    return float(_concentration(importance.T).mean())


def _concentration(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) one minus the entropy of each row (n, m), to the base m; 0 for a row of zeros."""
    total = weights.sum(1)
    shares = weights / np.where(total > 0, total, 1.0)[:, None]
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(1)
    return np.where(total > 0, 1 - entropy / np.log(max(2, weights.shape[1])), 0.0)


def _halves(rows: int, most: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows to fit on and others to score on, drawn at random."""
    drawn, size = np.random.default_rng(seed).permutation(rows), min(most, rows // 2)
    return drawn[:size], drawn[size : 2 * size]
