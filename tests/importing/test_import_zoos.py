"""Models by the names that torchvision and ultralytics give them; neither is installed where CI runs, so stubs stand for them."""

import sys
import types
from importlib.machinery import ModuleSpec
from importlib.util import find_spec

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from samattn_cli import load_config
from samattn_cli.errors import ImportFailedError, code_of
from samattn_cli.importing.importer import imported
from samattn_cli.stack.encoder import build
from samattn_cli.tape.encoder import forward
from tests.support.checkpoints import of_sam
from tests.support.importing import is_preset


class Attention(nn.Module):
    """The weights and buffers of torchvision's ShiftedWindowAttention, or of its V2."""

    def __init__(self, dim: int, heads: int, window: int, *, v2: bool) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.register_buffer("relative_position_index", torch.zeros(window**4))
        if v2:
            self.logit_scale = nn.Parameter(torch.zeros(heads, 1, 1))
            self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, heads, bias=False))
            self.register_buffer("relative_coords_table", torch.zeros(1, 2 * window - 1, 2 * window - 1, 2))
        else:
            self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))


class SwinBlock(nn.Module):
    def __init__(self, dim: int, *rest: int, v2: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, *rest, v2=v2)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(), nn.Linear(4 * dim, dim), nn.Dropout()
        )


class Merging(nn.Module):
    def __init__(self, dim: int, *, v2: bool) -> None:
        super().__init__()
        self.reduction, self.norm = (
            nn.Linear(4 * dim, 2 * dim, bias=False),
            nn.LayerNorm((2 if v2 else 4) * dim),
        )


class Swin(nn.Module):
    """Laid out as torchvision's SwinTransformer: stages at odd places, merging between them."""

    def __init__(self, depths: tuple[int, ...], window: int, *, v2: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, 96, 4, 4), nn.Identity(), nn.LayerNorm(96))]
        for stage, depth in enumerate(depths):
            dim, heads = 96 << stage, 3 << stage
            layers += [Merging(dim // 2, v2=v2)] if stage else []
            layers.append(nn.Sequential(*(SwinBlock(dim, heads, window, v2=v2) for _ in range(depth))))
        self.features, self.norm, self.head = nn.Sequential(*layers), nn.LayerNorm(dim), nn.Linear(dim, 1000)


def sam() -> nn.Module:
    """Of the names and shapes of SAM ViT-B; it needs a number while it is made, as SAM 2's do."""
    assert torch.linspace(0, 1, 2)[1].item() == 1
    model = nn.Module()
    for name, shape in of_sam(load_config("sam_vit_b")).items():
        *path, last = name.split(".")
        module = model
        for step in path:
            module = module.get_submodule(step) if hasattr(module, step) else _added(module, step)
        module.register_parameter(last, nn.Parameter(torch.empty(shape)))
    return model


def _added(module: nn.Module, name: str) -> nn.Module:
    module.add_module(name, nn.Module())
    return module.get_submodule(name)


TORCHVISION = {
    "swin_t": lambda: Swin((2, 2, 6, 2), 7, v2=False),
    "swin_v2_t": lambda: Swin((2, 2, 6, 2), 8, v2=True),
    "resnet50": nn.Module,
}


def a_module(monkeypatch: pytest.MonkeyPatch, name: str, **content: object) -> None:
    module = types.ModuleType(name)
    module.__spec__, module.__path__ = ModuleSpec(name, None), []
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def zoos(monkeypatch: pytest.MonkeyPatch) -> None:
    a_module(monkeypatch, "torchvision")
    a_module(
        monkeypatch,
        "torchvision.models",
        list_models=lambda: list(TORCHVISION),
        get_model=lambda name, **_: TORCHVISION[name](),
    )
    for name in ("ultralytics", "ultralytics.models", "ultralytics.models.sam"):
        a_module(monkeypatch, name)
    a_module(monkeypatch, "ultralytics.models.sam.build", sam_model_map={"sam_b.pt": sam})


@pytest.mark.usefixtures("zoos")
def test_models_of_torchvision_and_ultralytics_by_name(tmp_path):
    assert is_preset(imported("torchvision:swin_t"), "swin_t", tmp_path)
    assert is_preset(imported("ultralytics:sam_b"), "sam_vit_b", tmp_path)
    assert imported("ultralytics:sam_b.pt").partition("\n# At")[2]
    (tmp_path / "a.yaml").write_text(imported("torchvision:swin_v2_t"), "utf-8")
    v2 = load_config(tmp_path / "a.yaml")
    biases = 2 * 96 + 2 * 192 + 6 * 384 + 2 * 768
    assert biases == 4_416
    assert forward(v2).params == forward(load_config("swinv2_t")).params + biases == 27_582_570
    assert forward(v2).flops == forward(load_config("swinv2_t")).flops == 11_877_844_992


@pytest.mark.usefixtures("zoos")
@pytest.mark.parametrize(("size", "codes"), [((224, 224), ["torchvision-differs"]), ((256, 256), [])])
def test_a_grid_smaller_than_the_window_is_warned_of(size, codes):
    """The last grid of an image of 224 px has 7x7 tokens: 9,875,392,512 FLOPs in torchvision, 9,720,438,784 here."""
    warned = list[str]()
    imported("torchvision:swin_v2_t", warned.append, size)
    assert [code_of(sentence) for sentence in warned] == codes


@pytest.mark.usefixtures("zoos")
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("torchvision:swin_tt", "did you mean 'swin_t'?"),
        ("torchvision:resnet50", "choose from swin_t, swin_v2_t"),
        ("ultralytics:sam3_b", "choose from sam_b"),
    ],
)
def test_other_names_are_refused_with_those_that_are_read(source, said):
    with pytest.raises(ImportFailedError) as error:
        imported(source)
    assert error.value.codes == ("unknown-model",)
    assert said in error.value.message


@pytest.mark.parametrize("library", ["torchvision:", "ultralytics:", "timm:"])
def test_a_library_alone_asks_for_a_model(library):
    with pytest.raises(ImportFailedError) as error:
        imported(library)
    assert error.value.codes == ("no-model-named",)
    assert f"{library}s" in error.value.message  # a model that it has


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="it is installed")
def test_a_library_that_is_not_installed_is_named():
    with pytest.raises(ImportFailedError) as error:
        imported("torchvision:swin_t")
    assert error.value.codes == ("not-installed",)
    assert "pip install torchvision" in error.value.message


def test_a_bias_of_keys_that_is_zeroed_changes_no_output():
    small = {
        "image_size": 32,
        "patch_size": 4,
        "pos_embed": "none",
        "embed_dim": 16,
        "depth": 2,
        "num_heads": 2,
    }
    small |= {"block": "swinv2", "window_size": 4}
    torch.manual_seed(0)
    with_keys, without = build(load_config({**small, "zeroed_key_bias": True})), build(load_config(small))
    weights = {name: torch.randn_like(weight) for name, weight in with_keys.state_dict().items()}
    with_keys.load_state_dict(weights)
    for block in range(2):
        q, _, v = weights.pop(f"blocks.{block}.attn.qkv.bias").chunk(3)
        weights |= {f"blocks.{block}.attn.q_bias": q, f"blocks.{block}.attn.v_bias": v}
    without.load_state_dict(weights)
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(with_keys(image), without(image))


@pytest.mark.exhaustive
@pytest.mark.skipif(find_spec("torchvision") is None, reason="needs torchvision")
@pytest.mark.parametrize(
    "name", ["swin_t", "swin_s", "swin_b", "swin_v2_t", "swin_v2_s", "swin_v2_b", "vit_b_16", "vit_h_14"]
)
def test_parameters_and_flops_equal_those_of_torchvision(name, tmp_path):
    from torchvision.models import get_model  # noqa: PLC0415 - where it is installed

    with torch.device("meta"):
        model = get_model(name, weights=None).eval()
    setattr(model, "heads" if name.startswith("vit") else "head", nn.Identity())
    (tmp_path / "a.yaml").write_text(imported(f"torchvision:{name}"), "utf-8")
    config = load_config(tmp_path / "a.yaml")
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        model(torch.zeros(config.input_shape, device="meta"))
    passed = forward(config)
    assert passed.params == sum(weight.numel() for weight in model.parameters())
    assert passed.flops == counted.get_total_flops()


@pytest.mark.usefixtures("zoos")
def test_what_a_library_prints_does_not_get_into_the_config(monkeypatch, tmp_path, capsys):
    """As ultralytics says at its first import where it keeps its settings."""

    def loud() -> nn.Module:
        print("Creating new Settings")  # noqa: T201 - as the library does
        return sam()

    build = sys.modules["ultralytics.models.sam.build"]
    monkeypatch.setattr(build, "sam_model_map", {"sam_b.pt": loud})
    assert is_preset(imported("ultralytics:sam_b"), "sam_vit_b", tmp_path)
    assert capsys.readouterr() == ("", "Creating new Settings\n")


@pytest.mark.exhaustive
@pytest.mark.skipif(find_spec("ultralytics") is None, reason="needs ultralytics")
@pytest.mark.parametrize("name", ["sam_b", "sam_l", "mobile_sam", "sam2_t", "sam2_s", "sam2_b", "sam2_l"])
def test_parameters_and_flops_equal_those_of_ultralytics(name, tmp_path):
    from ultralytics.models.sam.build import sam_model_map  # noqa: PLC0415 - where it is installed

    encoder = sam_model_map[f"{name}.pt"]().image_encoder.eval().to("meta")
    (tmp_path / "a.yaml").write_text(imported(f"ultralytics:{name}"), "utf-8")
    config = load_config(tmp_path / "a.yaml")
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        encoder(torch.zeros(config.input_shape, device="meta"))
    passed = forward(config)
    unread = ("norm_head.", "head.")  # TinyViT's classifier, which its forward in MobileSAM leaves out
    read = (weight for key, weight in encoder.named_parameters() if not key.startswith(unread))
    assert passed.params == sum(weight.numel() for weight in read)
    assert passed.flops == counted.get_total_flops()
