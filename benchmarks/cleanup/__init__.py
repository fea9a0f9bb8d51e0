"""What cleaning up costs the others: G11 of the study, as ratios of one run."""
