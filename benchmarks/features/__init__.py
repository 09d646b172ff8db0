"""Benchmarks of features."""
