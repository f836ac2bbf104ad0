"""What a run is: from a config to the loop that trains, its directory and what it leaves there."""
