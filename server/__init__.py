"""The control plane: repository, configuration, engine."""
