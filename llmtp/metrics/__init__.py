"""What a running engine tells: `/slots`, `/metrics` and its log lines to samples. Draws nothing."""
