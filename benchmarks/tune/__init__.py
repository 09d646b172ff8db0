"""What `falaj tune` finds, and what finding it costs."""
