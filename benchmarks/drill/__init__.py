"""Restore drills: clean ones, damaged ones, their speed and their cost."""
