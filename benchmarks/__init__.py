"""Measurements of Falaj. See docs/benchmarks.md."""
