"""Ways to turn queries into numbers."""
