"""An append-only log of signed records, and what it proves about them."""
