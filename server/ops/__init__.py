"""Running the server: settings, logs, metrics and the life of the process."""
