"""What fvcore, FlopCounterMode, torchinfo, ptflops and calflops really say of the real stack, on the CPU."""

from __future__ import annotations

from importlib import import_module

import calflops
import ptflops
import torchinfo
from torch.utils.flop_counter import FlopCounterMode

from samattn_cli.stack.count import import_flop_count_analysis
from samattn_cli.stack.encoder import build, image_for

FlopCountAnalysis = import_flop_count_analysis()

# imported by torch when it is first needed, it would meet what tools put in place of torch's functions
import_module("torch._dynamo")


def of_modules_and_functions(config):
    """Of torchinfo, of ptflops, and of calflops FLOPs and MACs."""
    model, image = build(config), image_for(config)
    return (
        torchinfo.summary(model, input_data=image, verbose=0).total_mult_adds,
        of_ptflops(model, image),
        *calflops.calculate_flops(model, args=[image], print_results=False, output_as_string=False)[:2],
    )


def of_aten(config):
    """Of fvcore and of FlopCounterMode."""
    model, image = build(config), image_for(config)
    return of_fvcore(model, image), of_flop_counter(model, image)


def of_fvcore(model, image):
    analysis = FlopCountAnalysis(model, image).unsupported_ops_warnings(enabled=False)
    return analysis.uncalled_modules_warnings(enabled=False).total()


def of_flop_counter(model, image):
    with FlopCounterMode(display=False) as counter:
        model(image)
    return counter.get_total_flops()


def of_ptflops(model, image):
    macs, _ = ptflops.get_model_complexity_info(
        model,
        tuple(image.shape[1:]),
        input_constructor=lambda _: image,
        as_strings=False,
        print_per_layer_stat=False,
    )
    return macs
