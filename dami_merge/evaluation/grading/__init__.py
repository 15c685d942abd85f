"""From generated text to a grade: the thinking block, the answer, and whether it is correct."""
