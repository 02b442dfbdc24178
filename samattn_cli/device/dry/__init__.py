"""The dry device: torch's own CUDA code without a GPU; allocations are real, kernels are not run.

`stub.c` answers the calls of the CUDA runtime that torch's CUDA build makes. Preloaded into a process, it lets torch's host
code run unchanged: its caching allocator, the internal allocations of each operator, its choice of attention kernel, its
out-of-memory errors. Values are garbage, and there are no times.
"""
