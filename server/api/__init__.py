"""The protocol's operations that are not infer, and the ASGI app that serves them."""
