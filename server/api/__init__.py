"""The control plane as operations and as an ASGI app: everything of the protocol that is not infer over the wire."""
