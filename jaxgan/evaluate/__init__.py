"""How good samples are: mode coverage, Frechet distance, nearest real pictures."""
