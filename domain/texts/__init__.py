"""What users read, by noun: each module has `TEXTS`, a key to (English, Chinese), filled in by `str.format`."""
