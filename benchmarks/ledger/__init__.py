"""What the ledger costs: appends, verification, export."""
