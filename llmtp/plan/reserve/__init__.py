"""What the engine reserves to compute in: its own graph, scheduler and allocator, without numbers.

llama.cpp decides this by a dry run: it builds the graph of a whole ubatch, splits it over GPU and
CPU, and places every tensor in a buffer. The same is done here with sizes and lifetimes only, as
closed forms miss the holes that an allocator leaves. Mirrored: src/models/gemma4.cpp and
gemma4-assistant.cpp, llama-graph.cpp, ggml-backend.cpp, ggml-alloc.c, ggml-vulkan.cpp, as they are
in b10068 and b11434.
"""
