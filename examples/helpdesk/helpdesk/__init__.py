"""A small support desk: customers write tickets, the desk answers them, articles answer the rest."""
