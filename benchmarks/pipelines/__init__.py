"""Pipelines against the sum of their models: `python benchmarks/pipelines/run.py`."""
