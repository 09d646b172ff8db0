"""The network front end against bare servers: `python benchmarks/wire/run.py`."""
