"""How good samples are: mode coverage."""
