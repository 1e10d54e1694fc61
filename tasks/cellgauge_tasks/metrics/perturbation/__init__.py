"""Metrics of predicted perturbations: effects, differential expression, discrimination, distributions."""

from cellgauge_tasks.metrics.perturbation.perturbed import Perturbed

__all__ = ["Perturbed"]
