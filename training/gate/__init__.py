"""The parity gate: an export answers as its original, or is refused."""
