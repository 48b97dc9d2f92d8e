"""Networks as their authors write them, to make spaces around."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Basic(nn.Module):
    """A residual block of ResNet (He et al. 2016)."""

    def __init__(self, inward, outward, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inward, outward, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outward)
        self.conv2 = nn.Conv2d(outward, outward, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outward)
        self.down = None
        if stride > 1 or inward != outward:
            self.down = nn.Sequential(nn.Conv2d(inward, outward, 1, stride, bias=False), nn.BatchNorm2d(outward))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.down is None else self.down(x)
        return F.relu(y)


class ResNet(nn.Module):
    """Depth 6n + 2 for small images."""

    def __init__(self, n, inward=3):
        super().__init__()
        self.conv = nn.Conv2d(inward, 16, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        sizes = ((16, 16, 1), (16, 32, 2), (32, 64, 2))
        self.layers = nn.ModuleList(nn.Sequential(Basic(*s), *[Basic(s[1], s[1]) for _ in range(n - 1)]) for s in sizes)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn(self.conv(x)))
        for layer in self.layers:
            x = layer(x)
        x = F.adaptive_avg_pool2d(x, 1)
        return self.fc(x.view(x.size(0), -1))


class Inverted(nn.Module):
    """MobileNetV2's block (Sandler et al. 2018)."""

    def __init__(self, inward, outward, expansion, stride):
        super().__init__()
        hidden = inward * expansion
        self.adds = stride == 1 and inward == outward
        self.body = nn.Sequential(
            nn.Conv2d(inward, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True), nn.Conv2d(hidden, outward, 1, bias=False), nn.BatchNorm2d(outward),
        )  # fmt: skip

    def forward(self, x):
        return x + self.body(x) if self.adds else self.body(x)


class Attention(nn.Module):
    """Written by hand: it looks at the sizes of its input, which symbols cannot pass."""

    def __init__(self, dim, heads):
        super().__init__()
        self.dim, self.heads = dim, heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width))


class Layer(nn.Module):
    """A layer of a transformer, norms first."""

    def __init__(self, dim, heads):
        super().__init__()
        self.n1, self.n2, self.attn = nn.LayerNorm(dim), nn.LayerNorm(dim), Attention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        x = x + self.attn(self.n1(x))
        return x + self.mlp(self.n2(x))


class Transformer(nn.Module):
    """A small vision transformer."""

    def __init__(self, depth=2, inward=3, patch=4, tokens=16):
        super().__init__()
        self.patch = nn.Conv2d(inward, 16, patch, patch)
        self.place = nn.Parameter(torch.linspace(-1, 1, tokens * 16).reshape(1, tokens, 16))
        self.layers = nn.Sequential(*[Layer(16, 4) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.norm(self.layers(x)).mean(1))


class Dense(nn.Module):
    """Concatenations, then flatten."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(11, 8, 3, padding=1)
        self.c, self.fc = nn.Conv2d(19, 8, 5, 2, 2), nn.Linear(8 * 8 * 8, 5)

    def forward(self, x):
        x = torch.cat([x, F.relu(self.a(x))], 1)
        x = torch.cat([x, F.relu(self.b(x))], 1)
        return self.fc(torch.flatten(F.relu(self.c(x)), 1))


class Encoder(nn.Module):
    """torch's own encoder layers."""

    def __init__(self):
        super().__init__()
        self.inward = nn.Linear(6, 16)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(2))
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        x = self.inward(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


class Decides(nn.Module):
    """Its path depends on the data."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 3)

    def forward(self, x):
        if x.sum() > 0:  # the line that the error names
            return self.a(x)
        return x


class Crossed(nn.Module):
    """Not parts one after the other and side by side: both terms of the sum need what a gives."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x):
        a = self.a(x)
        return self.c(a) + (self.d(a) + self.b(x))


class Inception(nn.Module):
    """Several kernels side by side, one BatchNorm over all of them, the mean over the map."""

    def __init__(self):
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 16, 3, padding=1), nn.MaxPool2d(3, 1, 1)
        self.branches = nn.ModuleList(nn.Conv2d(16, 8, k, padding=k // 2) for k in (1, 3, 5))
        self.norm, self.head = nn.BatchNorm2d(40), nn.Linear(40, 7)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.cat([branch(x) for branch in self.branches] + [self.pool(x)], 1)
        return self.head(F.gelu(self.norm(x)).mean([2, 3]))


class Maps(nn.Module):
    """A map out of a map, over a transposed convolution that is kept as it is."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(8, 16, 3, 2, 1), nn.ConvTranspose2d(16, 8, 2, 2)
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.last(torch.cat((x, self.up(F.relu(self.down(x)))), dim=1))


class Two(nn.Module):
    """Two inputs."""

    def forward(self, x, y):
        return x + y


class Gated(nn.Module):
    """A product of two paths, and a constructor's argument that is forgotten."""

    def __init__(self, width, secret, keep=False):
        super().__init__()
        self.width, self.gate = width, nn.Linear(width, width + secret)
        if keep:
            self.secret = secret

    def forward(self, x):
        return x * torch.sigmoid(self.gate(x))


def vgg(inward=3):
    return nn.Sequential(
        nn.Conv2d(inward, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10),
    )  # fmt: skip


def mobile():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(), Inverted(8, 16, 4, 2), Inverted(16, 16, 4, 1),
        Inverted(16, 16, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(16, 10),
    )  # fmt: skip


def perceptron():
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 32), nn.Tanh(), nn.LayerNorm(32), nn.Linear(32, 3))


def sequence():
    return nn.Sequential(
        nn.Conv1d(3, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 16, 3, padding=1),
        nn.GroupNorm(4, 16), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip


MODELS = {
    "vgg": (vgg, (3, 16, 16)), "mobile": (mobile, (3, 16, 16)), "mlp": (perceptron, (20,)),
    "conv1d": (sequence, (3, 40)), "resnet8": (lambda: ResNet(1), (3, 16, 16)),
    "transformer": (Transformer, (3, 16, 16)),
    "inception": (Inception, (3, 8, 8)), "layer": (lambda: nn.Linear(6, 2), (6,)),
    "dense": (Dense, (3, 16, 16)), "encoder": (Encoder, (7, 6)),
}  # fmt: skip
