"""Smaller and faster variants of a model, each kept only where it is measured to be worth it."""
