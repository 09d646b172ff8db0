"""Fit models from a specification: data, splits, metrics, tuning."""
