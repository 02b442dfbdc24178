"""Microsoft's YAML configs of Swin and Swin V2, and those of detectors with Swin as their backbone.

Sources: microsoft/Swin-Transformer, config.py, models/build.py and configs; facebookresearch/Mask2Former,
mask2former/config.py, mask2former/modeling/backbone/swin.py and configs.
"""

from __future__ import annotations

from ...encoder.tree import Node
from ...importing.config_file import ConfigFile, ConfigKind
from ...importing.description import Description, Keys
from .importing import DEFAULTS, from_v1, from_v2, with_norms

TYPES = {"swin": ("SWIN", from_v1), "swinv2": ("SWINV2", from_v2)}
"""MODEL.TYPE of Microsoft's YAML: the mapping in MODEL that describes it, and the function that reads that."""
RENAMED = (
    ("PATCH_SIZE", "patch_size"), ("IN_CHANS", "num_channels"), ("EMBED_DIM", "embed_dim"), ("DEPTHS", "depths"),
    ("NUM_HEADS", "num_heads"), ("WINDOW_SIZE", "window_size"), ("MLP_RATIO", "mlp_ratio"), ("QKV_BIAS", "qkv_bias"),
    ("APE", "use_absolute_embeddings"),
)  # fmt: skip
"""Entries of MODEL.SWIN by the names of a SwinConfig."""
OTHERS = (
    "PATCH_NORM", "QK_SCALE", "PRETRAINED_WINDOW_SIZES",  # Microsoft's
    "PRETRAIN_IMG_SIZE", "OUT_FEATURES", "DROP_RATE", "ATTN_DROP_RATE", "DROP_PATH_RATE", "USE_CHECKPOINT",  # Mask2Former's
)  # fmt: skip
DETECTOR = "D2SwinTransformer"
"""MODEL.BACKBONE.NAME of the detectors in MaskFormer's and Mask2Former's code."""
MAPS = ("res2", "res3", "res4", "res5")


def yaml_of_swin(root: Node) -> Node | None:
    """The MODEL of Microsoft's YAML, or that of a detector with Swin as its backbone."""
    model = root.step("MODEL")
    named = (("TYPE",), ("SWIN",), ("SWINV2",))
    return model if model is not None and any(model.at(at) is not None for at in named) else None


def from_yaml(document: ConfigFile, model: Node) -> tuple[Keys, Description]:
    """MODEL.SWIN or MODEL.SWINV2, whose missing entries have Microsoft's defaults."""
    whole = document.description(model).with_defaults(TYPE="swin")
    whole.expect("TYPE", *TYPES)
    key, read = TYPES[whole.word("TYPE")]
    node = model.step(key) or Node({}, model.where)
    swin = document.description(node, RENAMED, known=(*dict(RENAMED), *OTHERS)).with_defaults(PATCH_NORM=True)
    detector = model.at(("BACKBONE", "NAME"))
    if detector is not None and detector.value == DETECTOR:
        swin = swin.with_defaults(image_size=swin.entries.get("PRETRAIN_IMG_SIZE", DEFAULTS["image_size"]))
        swin.notes.append("A detector takes images of any size: --image-size takes yours.")
        keys = _of_detector(swin, read(swin))
    else:
        data = document.root.step("DATA") or Node({}, model.where)
        image = document.description(data).with_defaults(IMG_SIZE=DEFAULTS["image_size"]).size("IMG_SIZE")
        swin = swin.with_defaults(image_size=image)
        keys = read(swin)
    if any(document.root.step(base) is not None for base in ("BASE", "_BASE_")):
        swin.notes.append(
            "The files that it names as its BASE were not read: missing entries have the code's defaults."
        )
    return keys if swin.flag("PATCH_NORM") else {**keys, "patch_embed": "patch"}, swin


def _of_detector(description: Description, keys: Keys) -> Keys:
    """A norm for each map that a detector reads."""
    names = description.entries.get("OUT_FEATURES", list(MAPS))
    if not isinstance(names, list) or not names or not all(name in MAPS for name in names):
        raise description.wrong("OUT_FEATURES", f"a list of some of {', '.join(MAPS)}")
    return with_norms({**keys, "norm": False}, sorted(map(MAPS.index, names)))


CONFIG_FILES = (ConfigKind("Microsoft's Swin", yaml_of_swin, from_yaml),)
