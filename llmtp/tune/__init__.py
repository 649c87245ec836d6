"""Finding the best n-max on this machine, with few starts of the server."""
