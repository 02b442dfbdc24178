"""SAM 2's own YAML configs, whose entries are the arguments of the classes in its code.

Source: facebookresearch/sam2, sam2/configs; sam2/modeling/backbones/hieradet.py and image_encoder.py; sam2/modeling/sam2_base.py.
"""

from __future__ import annotations

from itertools import accumulate

from ...encoder.tree import Node
from ...importing.config_file import ConfigFile, ConfigKind, mappings_in, without_run
from ...importing.description import Description, Keys, Size
from .importing import RUN, from_backbone, with_neck

TRUNK_ENTRIES = {
    "embed_dim": 96, "num_heads": 1, "drop_path_rate": 0.0, "q_pool": 3, "q_stride": [2, 2], "stages": [2, 3, 16, 3],
    "dim_mul": 2.0, "head_mul": 2.0, "window_pos_embed_bkg_spatial_size": [14, 14], "window_spec": [8, 4, 14, 7],
    "global_att_blocks": [12, 16, 20], "return_interm_layers": True,
}  # fmt: skip
"""The arguments of SAM 2's Hiera, and their defaults; `weights_path` has none."""
NECK_ENTRIES = {
    "kernel_size": 1, "stride": 1, "padding": 0, "fpn_interp_model": "bilinear", "fuse_type": "sum",
    "fpn_top_down_levels": [0, 1, 2, 3],
}  # fmt: skip
"""Those of its FpnNeck that have a default."""
IMAGE_SIZE = 512
"""The default of SAM2Base."""


def sam2_in(root: Node) -> Node | None:
    """The model in SAM 2's YAML: the mapping with an image_encoder that has a trunk, in some files under trainer."""
    models = (node for node in mappings_in(root) if node.at(("image_encoder", "trunk")) is not None)
    return next(models, None)


def from_yaml(document: ConfigFile, model: Node) -> tuple[Keys, Description]:
    """The image_encoder of SAM 2's YAML, whose entries are the arguments of the classes in SAM 2's code."""
    encoder = model.find(("image_encoder",))
    trunk = document.description(
        without_run(encoder.find(("trunk",))), known=(*TRUNK_ENTRIES, "weights_path")
    ).with_defaults(**TRUNK_ENTRIES)
    whole = document.description(model).with_defaults(image_size=IMAGE_SIZE)
    keys = {**_from_trunk(trunk, whole.size("image_size")), "run": RUN}
    if (neck := encoder.step("neck")) is None:
        return keys, trunk
    document.description(encoder).with_defaults(scalp=0).expect("scalp", 1)
    return with_neck(keys, _channels(document, without_run(neck), keys)), trunk


def _from_trunk(trunk: Description, image: Size) -> Keys:
    """Widths and heads grow from stage to stage, each rounded down."""
    depths, (wider, more) = trunk.integers("stages"), map(trunk.number, ("dim_mul", "head_mul"))
    if not depths:
        raise trunk.wrong("stages", "a list with a number for each stage")
    trunk.expect("return_interm_layers", True)
    trunk.ignore("drop_path_rate")
    steps = range(len(depths) - 1)
    pooled = trunk.integer("q_pool", 0)
    if pooled > len(steps):
        raise trunk.wrong("q_pool", f"at most {len(steps)}, one less than there are stages")
    stages = Description(trunk.label, {
        "image_size": image, "hidden_size": trunk.integer("embed_dim"), "blocks_per_stage": depths,
        "embed_dim_per_stage": [*accumulate(steps, lambda width, _: int(width * wider), initial=trunk.integer("embed_dim"))],
        "num_attention_heads_per_stage": [
            *accumulate(steps, lambda heads, _: int(heads * more), initial=trunk.integer("num_heads"))
        ],
        "window_size_per_stage": trunk.integers("window_spec", len(depths)), "num_query_pool_stages": pooled,
        "query_stride": trunk.side("q_stride"), "global_attention_blocks": trunk.integers("global_att_blocks"),
        "window_positional_embedding_background_size": trunk.size("window_pos_embed_bkg_spatial_size"),
    })  # fmt: skip
    return from_backbone(stages)


def _channels(document: ConfigFile, node: Node, keys: Keys) -> int:
    """The channels of SAM 2's FpnNeck, which must be the one that samattn has."""
    known = (*NECK_ENTRIES, "d_model", "backbone_channel_list", "position_encoding")
    neck = document.description(node, known=known).with_defaults(**NECK_ENTRIES)
    neck.expect("backbone_channel_list", [stage["embed_dim"] for stage in reversed(keys["stages"])])
    for key, only in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("fuse_type", "sum")):
        neck.expect(key, only)
    neck.expect("fpn_top_down_levels", [2, 3])
    neck.expect("fpn_interp_model", "nearest")
    return neck.integer("d_model")


CONFIG_FILES = (ConfigKind("SAM 2", sam2_in, from_yaml),)
