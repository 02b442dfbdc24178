"""The smallest family: a neck that is one linear layer. Shapes: B images, H x W grid, C width."""

from samattn_cli.encoder.slots import Family, Part

FAMILY = Family(necks={"linear": Part(summary="A linear layer to out_chans.", keys=frozenset({"out_chans"}))})


def tape():
    """Its pass over the Tape: (B, H, W, C) -> (B, H, W, out_chans)."""

    def linear(tape, x, part):
        return tape.linear("proj", x, part.config.out_chans)

    return {"NECKS": {"linear": linear}}


def stack():
    """Its module in torch, which is imported here and nowhere else."""
    from torch import nn

    class LinearNeck(nn.Module):
        def __init__(self, part):
            super().__init__()
            self.proj = nn.Linear(part.entering.dim, part.config.out_chans)

        def forward(self, x):
            return self.proj(x)

    return {"NECKS": {"linear": LinearNeck}}
