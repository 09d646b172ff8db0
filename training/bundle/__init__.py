"""What a served version of a model is made of: its files and their hashes, baseline, card."""
