"""`falaj tune`: searches how a model is served best inside a bound on latency, by asking a real server.

Not `falaj.server.tune`, which makes the `auto` choices of a model while it is loaded.
"""
