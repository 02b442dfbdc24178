"""The public models that are traced: of transformers by its config classes, of timm and torchvision by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

from torch import nn

from samattn_cli.stack.tracing.load import Target, build, on_device, target_of

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
    "Swin-T backbone": ("SwinBackbone", {}, (1, 3, 224, 224)),  # it drops the result of its last norm
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
    "DINOv3-ConvNeXt": ("DINOv3ConvNext", {}, (1, 3, 224, 224)),
    "ConvNeXt V2": ("ConvNextV2", {}, (1, 3, 224, 224)),
    "CvT": ("Cvt", {}, (1, 3, 224, 224)),
    "AIMv2": ("Aimv2Vision", {}, (1, 3, 224, 224)),
    "LeViT": ("Levit", {}, (1, 3, 224, 224)),
    "InternVL vision": ("InternVLVision", {}, (1, 3, 448, 448)),
}


class Model(NamedTuple):
    """A model: what `samattn trace` is asked for, or a builder, and its inputs."""

    name: str
    target: Any
    shapes: Mapping[str, tuple[int, ...]]


def asked(name: str, words: list[str]) -> bool:
    return not words or any(word in name for word in words)


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

    for name, (kind, _, shape) in TRANSFORMERS.items():
        if asked(f"transformers {name}", words) and _config_of(transformers, kind):
            yield Model(f"transformers {name}", lambda n=name: transformers_model(n), {PIXELS: shape})


def transformers_model(name: str) -> nn.Module:
    """A model of the table, with random weights: also a target, `tests.public.traced_models:transformers_model --arg name="..."`."""
    import transformers  # noqa: PLC0415 - where it is installed

    kind, settings, _ = TRANSFORMERS[name]
    names = (f"{kind}Model", f"{kind}Backbone", kind)
    model = next(filter(None, (getattr(transformers, each, None) for each in names)))
    made: nn.Module = model(_config_of(transformers, kind)(**settings))
    return made


def _config_of(library: Any, kind: str) -> Any:
    """The class of the config of a kind of model, or of its backbone; None if the library has none."""
    names = (kind, kind.removesuffix("Backbone"))
    return next(filter(None, (getattr(library, f"{name}Config", None) for name in names)), None)


def module_of(model: Model) -> tuple[nn.Module, Mapping[str, tuple[int, ...]]]:
    target = target_of(model.target, {}) if isinstance(model.target, str) else Target(model.target)
    return on_device(build(target, []), "meta", None).eval(), model.shapes or target.inputs or {}
