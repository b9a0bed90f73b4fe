"""Sweeps: the same fit at several values of its options, and the rate-distortion curve that they draw.

    out/NAME/                a run folder for each point, such as beta=0.5
    out/sweep.json, .csv     the points: values of the options, and the evidence
    out/rate-distortion.png  where matplotlib is there

Over the weight beta of the KL the points trace how little distortion, -E_q[log p(x|z)], a model reaches at a rate (Alemi et al.
2018, arXiv 1711.00464); points of the same ELBO lie on a line of slope -1. A sweep that was stopped goes on when it is asked for
again: points that are finished are kept, and one that was interrupted is resumed.
"""

from amortized.sweeping.record import Point, Sweep
from amortized.sweeping.running import sweep

__all__ = ["Point", "Sweep", "sweep"]
