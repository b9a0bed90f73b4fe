"""What the tests of estimates look at."""

import math


def z_score(values, expected=0.0):
    """How many standard errors the mean of independent values is from what is expected."""
    return float((values.mean() - expected) / (values.std() / math.sqrt(len(values))))
