"""What a user asks for that takes several rooms: one function each, from names to values. Prints nothing."""
