#!/usr/bin/env bash
# The gguf package writes and reads tensors of five dimensions and names of 80 bytes, beyond what the format allows
#
# Who meets it: anyone who exports an encoder to GGUF: Qwen2.5-VL's patch embedding is a Conv3d, a weight of five
#   dimensions, and names nested in adapters pass 64 bytes.
# Versions: gguf 0.19.0.
# Guess: GGUFWriter raises for both, since the format allows at most 4 dimensions and 64 bytes.
# Seen: both are written without a word, and GGUFReader reads both back, so a round trip in Python proves nothing.
# Why: the limits stand in the format's specification (gguf_tensor_info_t in ggml's docs/gguf.md). The Python package
#   does not check them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile gguf==0.19.0 numpy==2.4.6

venv/bin/python - >seen <<'PY'
import gguf
import numpy as np

writer = gguf.GGUFWriter("encoder.gguf", "clip")
patch_embed = np.zeros((32, 3, 2, 14, 14), np.float32)  # out_chans, in_chans, frames, height, width
name = "vision." + "adapter." * 8 + "weight__"
writer.add_tensor("v.patch_embd.weight", patch_embed)
writer.add_tensor(name + "x" * (80 - len(name)), np.zeros((2, 3), np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
for tensor in gguf.GGUFReader("encoder.gguf").tensors:
    print(len(tensor.name), "bytes of name,", len(tensor.shape), "dimensions,", tensor.n_elements, "numbers")
PY
diff seen - <<'SEEN'
19 bytes of name, 5 dimensions, 37632 numbers
80 bytes of name, 2 dimensions, 6 numbers
SEEN
