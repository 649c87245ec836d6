"""Run Gemma 4 on llama.cpp with its matching MTP drafter, proved and watched."""

__version__ = "0.1.0"
