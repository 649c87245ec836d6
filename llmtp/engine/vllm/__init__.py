"""vLLM: finding it, its command line, and what its words and answers mean."""
