"""What llama-server prints when memory runs out: the last lines of real logs.

CUDA is b11434, Vulkan b10434, on an H100 whose other memory was filled; the CPU is b10068 under
`ulimit -v`. The lines of KV and compute are the same for both models: the next ones tell.
"""

from __future__ import annotations

_MAIN = """\
0.02.399.817 E cmn  common_init_: failed to create context with model 'm/12b-main.gguf'
0.02.399.830 E srv    load_model: failed to create_context with model 'm/12b-main.gguf'
"""
_END = """\
0.02.401.000 I srv    operator(): operator(): cleaning up before exit...
0.02.401.757 E srv  llama_server: exiting due to model loading error
"""
_VULKAN = """\
ggml_vulkan: Device memory allocation of size {size} failed.
ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory
0.02.777.740 E alloc_tensor_range: failed to allocate Vulkan0 buffer of size {size}
"""
_CUDA = (
    "0.02.398.919 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating {mib} MiB on device 0: "
    "cudaMalloc failed: out of memory\n"
)
#: By back end, whose it was, and which part: the log, and the bytes that it asked for.
LOGS = {
    ("cuda", "model", "weights"): (
        _CUDA.format(mib="6870.19")
        + """\
0.01.515.980 E ggml_backend_buft_alloc_buffer_n_default: failed to allocate CUDA0 buffer of size \
7203914112
0.01.699.747 E llama_model_load: error loading model: unable to allocate CUDA0 buffer
0.01.699.767 E llama_model_load_from_file_impl: failed to load model
0.01.699.779 E cmn  common_init_: failed to load model 'm/12b-main.gguf'
0.01.699.786 E srv    load_model: failed to load model, 'm/12b-main.gguf'
"""
        + _END,
        7203914112,
    ),
    ("cuda", "model", "KV cache"): (
        _CUDA.format(mib="2048.00")
        + """\
0.02.398.936 E ggml_backend_buft_alloc_buffer_n_default: failed to allocate CUDA0 buffer of size \
2147483648
0.02.399.797 E llama_init_from_model: failed to initialize the context: failed to allocate buffer \
for kv cache
"""
        + _MAIN
        + _END,
        2147483648,
    ),
    ("cuda", "model", "compute buffer"): (
        _CUDA.format(mib="129.52")
        + """\
0.02.267.158 E ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 135815296
0.02.267.159 E graph_reserve: failed to allocate compute buffers
0.02.268.021 E llama_init_from_model: failed to initialize the context: failed to allocate compute \
pp buffers
"""
        + _MAIN
        + _END,
        135815296,
    ),
    ("cuda", "drafter", "weights"): (
        _CUDA.format(mib="428.53")
        + """\
0.03.955.148 E ggml_backend_buft_alloc_buffer_n_default: failed to allocate CUDA0 buffer of size \
449341952
0.04.160.352 E llama_model_load: error loading model: unable to allocate CUDA0 buffer
0.04.160.383 E llama_model_load_from_file_impl: failed to load model
0.04.160.386 E common_speculative_init_result: failed to load draft model, 'm/12b-draft-0.8.gguf'
0.04.160.400 E srv    load_model: failed to load draft model, 'm/12b-draft-0.8.gguf'
"""
        + _END,
        449341952,
    ),
    ("cuda", "drafter", "compute buffer"): (
        _CUDA.format(mib="72.50")
        + """\
0.04.315.699 E ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 76023936
0.04.315.700 E graph_reserve: failed to allocate compute buffers
0.04.315.886 E llama_init_from_model: failed to initialize the context: failed to allocate compute \
pp buffers
0.04.315.896 E common_speculative_init_result: failed to create MTP context
0.04.315.904 E srv    load_model: failed to create MTP context
"""
        + _END,
        76023936,
    ),
    ("vulkan", "model", "weights"): (
        _VULKAN.format(size=1069965440)
        + """\
0.01.634.715 E llama_model_load: error loading model: unable to allocate Vulkan0 buffer
0.01.634.728 E llama_model_load_from_file_impl: failed to load model
0.01.634.735 E cmn  common_init_: failed to load model 'm/12b-main.gguf'
0.01.634.742 E srv    load_model: failed to load model, 'm/12b-main.gguf'
"""
        + _END,
        1069965440,
    ),
    ("vulkan", "model", "KV cache"): (
        _VULKAN.format(size=1073741824)
        + """\
0.02.778.894 E llama_init_from_model: failed to initialize the context: failed to allocate buffer \
for kv cache
"""
        + _MAIN
        + _END,
        1073741824,
    ),
    ("vulkan", "drafter", "weights"): (
        _VULKAN.format(size=449341504)
        + """\
0.12.412.122 E llama_model_load: error loading model: unable to allocate Vulkan0 buffer
0.12.412.136 E llama_model_load_from_file_impl: failed to load model
0.12.412.138 E common_speculative_init_result: failed to load draft model, 'm/12b-draft-0.8.gguf'
0.12.412.148 E srv    load_model: failed to load draft model, 'm/12b-draft-0.8.gguf'
"""
        + _END,
        449341504,
    ),
}
