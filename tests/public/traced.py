"""Other people's models by `samattn trace`, FlopCounterMode and torch's MemTracker: which are equal, which are not.

    PYTHONPATH=. python -m tests.public.traced            # all that this environment has
    PYTHONPATH=. python -m tests.public.traced swin sam   # those with one of these words in their name

MemTracker runs the same module on fake CUDA tensors, and also rounds each allocation to 512 bytes. Its attention kernels are
those that `stack/tracing/as_cuda.py` chooses, so it checks allocations and lifetimes, not that choice: the dry device does.
timm and torchvision need a torch that fits them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.flop_counter import FlopCounterMode

from samattn_cli.stack.dynamo import without_dynamo
from samattn_cli.stack.tracing import as_cuda
from samattn_cli.stack.tracing.load import Target, build, on_device, target_of
from samattn_cli.stack.tracing.run import Inputs, trace
from samattn_cli.studies.traced.passes import TracedPasses
from samattn_cli.studies.traced.report import report_of

DEVICE = "cuda" if torch.version.cuda else "cpu"
"""MemTracker rounds to 512 bytes on CUDA alone, of which only a CUDA build has fake tensors."""
PIXELS = "0"
TIMM = (
    "vit_base_patch16_224", "deit3_small_patch16_224", "samvit_base_patch16", "samvit_base_patch16_224",
    "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "swinv2_cr_tiny_224", "hiera_tiny_224",
    "maxvit_tiny_tf_224", "coatnet_0_rw_224", "eva02_tiny_patch14_224", "davit_tiny", "twins_svt_small", "twins_pcpvt_small",
    "vit_small_patch14_dinov2", "vit_small_patch16_dinov3", "sam2_hiera_tiny", "pvt_v2_b0", "cait_xxs24_224",
    "xcit_nano_12_p16_224", "convnext_tiny", "efficientvit_b0", "mobilevitv2_050", "levit_128s", "nest_tiny", "crossvit_9_240",
    "focalnet_tiny_srf", "gcvit_xxtiny", "vit_base_patch16_siglip_224", "beit_base_patch16_224", "resnet50",
)  # fmt: skip
TORCHVISION = ("swin_t", "swin_v2_t", "maxvit_t", "vit_b_16", "convnext_tiny", "resnet50")
TRANSFORMERS: Mapping[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "ViT-B": ("ViT", {}, (1, 3, 224, 224)),
    "Swin-T": ("Swin", {}, (1, 3, 224, 224)),
    "Swin V2-T": ("Swinv2", {"image_size": 256, "window_size": 8}, (1, 3, 256, 256)),
    "Swin2SR": ("Swin2SR", {}, (1, 3, 64, 64)),
    "SAM ViT-B": ("SamVision", {}, (1, 3, 1024, 1024)),
    "SAM-HQ ViT-B": ("SamHQVision", {}, (1, 3, 1024, 1024)),
    "SAM 2 T": ("Sam2Vision", {}, (1, 3, 1024, 1024)),
    "Hiera-B": ("Hiera", {}, (1, 3, 224, 224)),
    "DINOv2-B": ("Dinov2", {}, (1, 3, 224, 224)),
    "DINOv2-reg-B": ("Dinov2WithRegisters", {}, (1, 3, 224, 224)),
    "DINOv3-S": ("DINOv3ViT", {}, (1, 3, 224, 224)),
    "BEiT-B": ("Beit", {}, (1, 3, 224, 224)),
    "DeiT-B": ("DeiT", {}, (1, 3, 224, 224)),
    "CLIP vision": ("CLIPVision", {}, (1, 3, 224, 224)),
    "SigLIP vision": ("SiglipVision", {}, (1, 3, 224, 224)),
    "VitDet-B": (
        "VitDet",
        {"window_block_indices": [0, 1, 3, 4, 6, 7, 9, 10], "window_size": 14},
        (1, 3, 224, 224),
    ),
    "MAE-B": ("ViTMAE", {"mask_ratio": 0.0}, (1, 3, 224, 224)),
    "PVT v2": ("PvtV2", {}, (1, 3, 224, 224)),
    "SegFormer": ("Segformer", {}, (1, 3, 512, 512)),
    "Donut Swin": ("DonutSwin", {}, (1, 3, 224, 224)),
    "MaskFormer-Swin": ("MaskFormerSwin", {}, (1, 3, 224, 224)),
    "ConvNeXt-T": ("ConvNext", {}, (1, 3, 224, 224)),
    "FocalNet": ("FocalNet", {}, (1, 3, 224, 224)),
    "LW-DETR backbone": ("LwDetrViT", {}, (1, 3, 640, 640)),
    "RF-DETR backbone": ("RfDetrDinov2", {}, (1, 3, 560, 560)),
    "YOLOS": ("Yolos", {}, (1, 3, 512, 864)),
    "ViTPose backbone": ("VitPoseBackbone", {}, (1, 3, 256, 192)),
    "Pixio": ("Pixio", {}, (1, 3, 256, 256)),
    "I-JEPA": ("IJepa", {}, (1, 3, 224, 224)),
    "Florence-2 tower": ("Florence2Vision", {}, (1, 3, 768, 768)),
    "Data2Vec vision": ("Data2VecVision", {}, (1, 3, 224, 224)),
}


class Model(NamedTuple):
    """A model: what `samattn trace` is asked for, or a builder, and its inputs."""

    name: str
    target: Any
    shapes: Mapping[str, tuple[int, ...]]


def asked(name: str, words: list[str]) -> bool:
    return not words or any(word in name for word in words)


class Row(NamedTuple):
    """What was found."""

    name: str
    params: bool
    flops: bool
    peak: int
    tracked: int | str
    unrounded: int
    layers: str


def models(words: list[str]) -> Iterator[Model]:
    if find_spec("transformers"):
        yield from _transformers(words)
    for zoo, names in (("timm", TIMM), ("torchvision", TORCHVISION)):
        if find_spec(zoo):
            for name in names:
                if asked(f"{zoo} {name}", words):
                    yield Model(f"{zoo} {name}", f"{zoo}:{name}", {})


def _transformers(words: list[str]) -> Iterator[Model]:
    import transformers  # noqa: PLC0415 - where it is installed

    for name, (kind, settings, shape) in TRANSFORMERS.items():
        if not asked(f"transformers {name}", words):
            continue
        config = getattr(transformers, f"{kind}Config", None)
        model = getattr(transformers, f"{kind}Model", None) or getattr(transformers, f"{kind}Backbone", None)
        if config is None or model is None:
            continue
        yield Model(f"transformers {name}", lambda c=config, m=model, s=settings: m(c(**s)), {PIXELS: shape})


def module_of(model: Model) -> tuple[nn.Module, Mapping[str, tuple[int, ...]]]:
    target = target_of(model.target, {}) if isinstance(model.target, str) else Target(model.target)
    return on_device(build(target, []), "meta", None).eval(), model.shapes or target.inputs or {}


def compared(model: Model, mode: str = "inference") -> Row:
    module, shapes = module_of(model)
    inputs = Inputs({name: (shape, "float32") for name, shape in shapes.items()}, "meta")
    passes = TracedPasses(trace(module, inputs, mode, []))
    report = report_of(passes, model.name, mode, "adamw")
    kinds = {f"{layer.type} {layer.placement}" for layer in report.layers}
    return Row(
        model.name,
        report.totals.params == sum(weight.numel() for weight in module.parameters()),
        report.totals.flops == counted(module, inputs),
        report.totals.peak_bytes,
        _attempt(module, inputs),
        unrounded_peak(passes),
        f"{len(report.layers)}: {', '.join(sorted(kinds))}",
    )


def unrounded_peak(passes: TracedPasses) -> int:
    """The peak of the inference forward in bytes as asked for."""
    traced = passes.trace
    live = (
        sum(weight.nbytes for weight in traced.weights) + sum(traced.buffer_bytes) + sum(traced.input_bytes)
    )
    sizes, peak = {}, live
    for op in traced.forward:
        for storage in op.allocates:
            sizes[storage.id] = storage.nbytes
            live += storage.nbytes
        peak = max(peak, live)
        live -= sum(sizes[number] for number in op.frees)
    return peak


def _attempt(module: nn.Module, inputs: Inputs) -> int | str:
    """The peak by MemTracker, or why it cannot say."""
    try:
        return tracked(module, inputs)
    except Exception as error:  # noqa: BLE001 - the table says so
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:80]}"


def counted(module: nn.Module, inputs: Inputs) -> int:
    library = as_cuda.install()
    trains = [weight for weight in module.parameters() if weight.requires_grad]
    module.requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs.args, **inputs.kwargs)
    for weight in trains:
        weight.requires_grad_()
    del library
    return int(counter.get_total_flops())


def tracked(module: nn.Module, inputs: Inputs) -> int:
    """The peak of an inference forward on fake CUDA tensors by MemTracker."""
    library = as_cuda.install(f"Autograd{DEVICE.upper()}")
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = {}
        for owner in module.modules():
            for table in (owner._parameters, owner._buffers):
                for name, tensor in table.items():
                    if tensor is not None:
                        table[name] = fake.setdefault(id(tensor), faked(tensor))
        args, kwargs = [faked(x) for x in inputs.args], {name: faked(x) for name, x in inputs.kwargs.items()}
        tracker = MemTracker()
        tracker.track_external(module, *args, *kwargs.values())
        with torch.no_grad(), tracker:
            module(*args, **kwargs)
    del library
    snapshot = tracker.get_tracker_snapshot("peak")
    (total,) = (sizes["Total"] for device, sizes in snapshot.items() if device.type == DEVICE)
    return int(total)


def faked(tensor: torch.Tensor) -> torch.Tensor:
    made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=DEVICE)
    # frozen weights too get a gradient: MemTracker hooks those of each weight
    return nn.Parameter(made) if isinstance(tensor, nn.Parameter) else made


def _other(row: Row) -> str:
    if isinstance(row.tracked, str):
        return f"fails: {row.tracked}"
    return f"{row.tracked / 2**20:,.2f} ({row.tracked - row.peak:+,} B)"


def main(words: list[str]) -> None:
    print("| model | parameters | FLOPs | peak, MiB | MemTracker, MiB | layers |", flush=True)
    print("| :-- | :-- | :-- | --: | --: | :-- |", flush=True)
    with without_dynamo():
        for model in models(words):
            try:
                row = compared(model)
            except Exception as error:  # noqa: BLE001 - each model is a row, also one that cannot run
                print(
                    f"| {model.name} | {type(error).__name__}: {str(error).partition(chr(10))[0][:200]} |",
                    flush=True,
                )
                continue
            equal = "equal" if row.tracked == row.peak else _other(row)
            flags = ["equal" if each else "**differ**" for each in (row.params, row.flops)]
            print(
                f"| {row.name} | {flags[0]} | {flags[1]} | {row.peak / 2**20:,.2f} | {equal} | {row.layers} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
