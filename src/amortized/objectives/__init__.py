"""Objectives: functions of a model's terms, in nats, always maximized."""

from amortized.objectives.bounds import elbo, elbo_sampled, iwae
from amortized.objectives.objective import NEEDS, Objective, check_compatible, needs
from amortized.objectives.schedules import Linear, Schedule

__all__ = ["NEEDS", "Linear", "Objective", "Schedule", "check_compatible", "elbo", "elbo_sampled", "iwae", "needs"]
