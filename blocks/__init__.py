"""The outside world: one adapter for each role that `domain/ports.py` names."""
