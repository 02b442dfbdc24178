#!/usr/bin/env bash
# The gguf package writes and reads a tensor of five dimensions, one more than the format allows
#
# Who meets it: anyone who exports Qwen2.5-VL's encoder to GGUF: its patch embedding is a Conv3d, a weight of five
#   dimensions.
# Versions: gguf 0.19.0.
# Guess: GGUFWriter raises, since the format allows at most 4 dimensions.
# Seen: the tensor is written without a word, and GGUFReader reads it back, so a round trip in Python proves nothing.
# Why: the limit stands in the format's specification (n_dimensions of gguf_tensor_info_t in ggml's docs/gguf.md). The
#   Python package does not check it.
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
writer.add_tensor("v.patch_embd.weight", patch_embed)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
for tensor in gguf.GGUFReader("encoder.gguf").tensors:
    print(tensor.name, "has", len(tensor.shape), "dimensions,", tensor.n_elements, "numbers")
PY
diff seen - <<'SEEN'
v.patch_embd.weight has 5 dimensions, 37632 numbers
SEEN
