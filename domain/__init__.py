"""What things mean: facts and decisions, answerable with pencil and paper.

Every other room imports this one; it imports none of them, knows no clock, no network and no Prefect.
"""
