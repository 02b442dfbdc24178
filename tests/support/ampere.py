"""The attention kernels that a traced module takes where no device is named."""

from samattn_cli.studies.traced.kernels import kernel_of
from samattn_cli.tape.sdpa_call import AMPERE

ON_AMPERE = kernel_of(AMPERE)
