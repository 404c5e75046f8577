"""The integer constraint system, its gadgets and the statements built from them."""
