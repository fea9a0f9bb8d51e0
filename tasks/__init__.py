"""One effect, or one reading of the world, each; opened by name, recorded in the ledger."""
