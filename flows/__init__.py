"""The processes a person would name: order, waiting, and every branch between effects."""
