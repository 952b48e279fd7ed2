"""Similarities, correlations and bootstrap intervals."""
