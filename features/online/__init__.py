"""Online stores: what is known of an entity now."""
