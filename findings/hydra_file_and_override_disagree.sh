#!/usr/bin/env bash
# The same number in a Hydra config file and as an override on the command line is not the same value
#
# Who meets it: anyone who sweeps SAM 2's Hydra configs (window sizes, global_att_blocks) from the command line.
# Versions: hydra-core 1.3.8, omegaconf 2.3.1, PyYAML 6.0.4.
# Guess: an override is read as the file is: 014 as the int 14 in both, 0x10 and 2:30 the same in both.
# Seen: in a file 014 is 12, 0x10 is 16, 2:30 is 150 and "on" is True. As overrides they are the strings "014", "0x10",
#   "2:30" and "on". Only 1_024, 1e4 and 14 agree. So a width of 014 is 12 from one place and a string from the other.
# Why: a file is read as YAML 1.1 (with floats as 1e4 added by OmegaConf). An override is read by Hydra's own grammar,
#   which has no octal, hexadecimal or base-60 numbers. Hydra documents that grammar.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile hydra-core==1.3.8 omegaconf==2.3.1 PyYAML==6.0.4

venv/bin/python - >seen <<'PY'
from pathlib import Path

from hydra import compose, initialize_config_dir

for text in ("14", "014", "0x10", "2:30", "on", "1_024", "1e4"):
    Path("config.yaml").write_text(f"width: {text}\n")
    with initialize_config_dir(str(Path.cwd()), version_base="1.3"):
        written, given = compose("config").width, compose("config", [f"width={text}"]).width
    print(f"{text}: file {written!r}, override {given!r}, equal {written == given}")
PY
diff seen - <<'SEEN'
14: file 14, override 14, equal True
014: file 12, override '014', equal False
0x10: file 16, override '0x10', equal False
2:30: file 150, override '2:30', equal False
on: file True, override 'on', equal False
1_024: file 1024, override 1024, equal True
1e4: file 10000.0, override 10000.0, equal True
SEEN
