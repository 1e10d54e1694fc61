"""Metrics: one file a family, plain functions."""
