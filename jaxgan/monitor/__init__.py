"""What a person sees of a run: metrics, progress, pictures and plots."""
