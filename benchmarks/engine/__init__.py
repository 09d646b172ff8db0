"""The engine against its baselines: `python benchmarks/engine/run.py`."""
