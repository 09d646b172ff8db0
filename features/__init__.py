"""Feature definitions, offline and online stores, point-in-time export."""
