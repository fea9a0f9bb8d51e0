"""How long a thousand resources take: see `__main__`."""
