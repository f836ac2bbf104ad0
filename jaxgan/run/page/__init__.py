"""A page to play on, in the browser: `jaxgan play`, and `run.play()` in a notebook. Needs `jaxgan[play]`."""
