"""Models as transformers and vLLM have them: a config.json beside files of weights."""
