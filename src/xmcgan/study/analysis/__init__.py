"""What the answers of a study say: exclusions, shares ranked best, worths, agreement, the results page."""
