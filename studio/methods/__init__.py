"""What can be taught (objectives) and how much of the model learns it (tuners)."""
