"""The analysis of a study's answers: exclusions, shares ranked best, worths, agreement, the results page."""
