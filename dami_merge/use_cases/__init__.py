"""Tasks that combine several subpackages: one function each, from names to values. Prints nothing."""
