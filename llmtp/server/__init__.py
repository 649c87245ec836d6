"""One owner of one engine process: start, ready, proof, watch, stop. Draws nothing."""
