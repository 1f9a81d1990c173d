"""Residual networks for images, with the parameter names of the usual ImageNet checkpoints, plain or dilated."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn.encoders._blocks import GlobalPool, whole_numbers

__all__ = ["ResNet", "resnet18", "resnet34", "resnet50"]


class ResNet(nn.Module):
    """A residual network without its classifier.

    A stem (7x7 convolution of stride 2, normalisation, ReLU, 3x3 max-pooling of stride 2), then four layers of residual
    blocks. Layers give width, 2, 4 and 8 times width channels (four times that with bottlenecks) at 1/4, 1/8, 1/16 and
    1/32 of the size of the image; with a smaller output stride the last layers keep their size and dilate their 3x3
    convolutions instead. Sizes are rounded up.

    Names and shapes of parameters are those of torchvision's networks without ``fc``, so that files with ImageNet
    weights can be read: ``load_weights(encoder, "resnet18.safetensors")``.

    Args:
        blocks: number of residual blocks in each of the four layers.
        bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions instead of two 3x3 ones; default False.
        in_channels: channels of the images; default 3.
        width: channels of the stem; default 64.
        output_stride: size of the image over size of the last layer, 32, 16 or 8; default 32.
        pool: end with the mean over all positions, (n, C); default True. False keeps (n, C, h, w) for dense tasks.

    Raises:
        TaskError: not four layers, a number below 1, or another output stride.

    Differs from the paper:
        bottlenecks have their stride in the 3x3 convolution, as in the usual checkpoints, where the paper has it in the
        first 1x1 convolution.

    Source:
        K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, CVPR 2016, arXiv:1512.03385; F.
        Yu, V. Koltun, T. Funkhouser, Dilated Residual Networks, CVPR 2017, for the dilation.

    Example:
        >>> import torch
        >>> encoder = ResNet((1, 1, 1, 1), width=4, output_stride=8, pool=False)
        >>> encoder.out_features, encoder(torch.zeros(1, 3, 32, 32)).shape
        (32, torch.Size([1, 32, 4, 4]))
    """

    def __init__(
        self,
        blocks: Sequence[int],
        *,
        bottleneck: bool = False,
        in_channels: int = 3,
        width: int = 64,
        output_stride: int = 32,
        pool: bool = True,
    ) -> None:
        super().__init__()
        counts = whole_numbers(blocks, what="numbers of residual blocks")
        in_channels, width = whole_numbers([in_channels, width], what="ResNet channels")
        if len(counts) != 4:
            raise TaskError(f"a ResNet has four layers, found numbers of blocks for {len(counts)}")
        if output_stride not in (8, 16, 32):
            raise TaskError(f"output_stride must be 8, 16 or 32, found {output_stride}")
        self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        block = _Bottleneck if bottleneck else _BasicBlock
        channels, dilation = width, 1
        for number, count in enumerate(counts):
            wanted = 1 if number == 0 else 2
            dilates = 4 * 2**number > output_stride
            before, dilation = dilation, dilation * wanted if dilates else dilation
            inner = width * 2**number
            first = block(channels, inner, stride=1 if dilates else wanted, dilations=(before, dilation))
            channels = inner * block.expansion
            rest = [block(channels, inner, stride=1, dilations=(dilation, dilation)) for _ in range(count - 1)]
            self.add_module(f"layer{number + 1}", nn.Sequential(first, *rest))
        self.pool = GlobalPool() if pool else None
        self.in_channels = in_channels
        self.out_features = channels
        self.output_stride = output_stride
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw convolutions from Kaiming's normal distribution (fan-out); normalisation starts as the identity."""
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(part, nn.BatchNorm2d):
                part.reset_parameters()

    def forward(self, images: Tensor) -> Tensor:
        """(n, C), or (n, C, h, w) without pooling."""
        for stage in self.stages():
            images = stage(images)
        return images

    def stages(self) -> list[nn.Sequential]:
        """The four layers, the first one behind the stem, the last one before the pooling."""
        stem, layers = self._stem(), self._layers()
        tail = [] if self.pool is None else [self.pool]
        return [nn.Sequential(*stem, layers[0]), *map(nn.Sequential, layers[1:-1]), nn.Sequential(layers[-1], *tail)]

    def pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """All blocks but the last, and the last block, of each of the four layers (without the final pooling).

        The stem belongs to the first layer. Layers of one block cannot be split: they come with ``nn.Identity``.
        """
        found: list[tuple[nn.Module, nn.Module]] = []
        for number, layer in enumerate(self._layers()):
            blocks = list(layer)
            last = blocks.pop() if len(blocks) > 1 else nn.Identity()
            found.append((nn.Sequential(*(self._stem() if number == 0 else []), *blocks), last))
        return found

    def _stem(self) -> list[nn.Module]:
        return [self.conv1, self.bn1, self.relu, self.maxpool]

    def _layers(self) -> list[nn.Sequential]:
        layers = [getattr(self, f"layer{number}") for number in range(1, 5)]
        return [layer for layer in layers if isinstance(layer, nn.Sequential)]


def resnet18(*, in_channels: int = 3, output_stride: int = 32, pool: bool = True) -> ResNet:
    """ResNet-18: 512 features.

    Args:
        in_channels: channels of the images; default 3.
        output_stride: 32, 16 or 8, see :class:`ResNet`.
        pool: end with the mean over all positions, see :class:`ResNet`.

    Example:
        >>> sum(parameter.numel() for parameter in resnet18().parameters()) + 513 * 1000  # with fc
        11689512
    """
    return ResNet((2, 2, 2, 2), in_channels=in_channels, output_stride=output_stride, pool=pool)


def resnet34(*, in_channels: int = 3, output_stride: int = 32, pool: bool = True) -> ResNet:
    """ResNet-34: 512 features.

    Args:
        in_channels: channels of the images; default 3.
        output_stride: 32, 16 or 8, see :class:`ResNet`.
        pool: end with the mean over all positions, see :class:`ResNet`.

    Example:
        >>> sum(parameter.numel() for parameter in resnet34().parameters()) + 513 * 1000  # with fc
        21797672
    """
    return ResNet((3, 4, 6, 3), in_channels=in_channels, output_stride=output_stride, pool=pool)


def resnet50(*, in_channels: int = 3, output_stride: int = 32, pool: bool = True) -> ResNet:
    """ResNet-50: bottleneck blocks, 2048 features.

    Args:
        in_channels: channels of the images; default 3.
        output_stride: 32, 16 or 8, see :class:`ResNet`.
        pool: end with the mean over all positions, see :class:`ResNet`.

    Example:
        >>> sum(parameter.numel() for parameter in resnet50().parameters()) + 2049 * 1000  # with fc
        25557032
    """
    return ResNet((3, 4, 6, 3), bottleneck=True, in_channels=in_channels, output_stride=output_stride, pool=pool)


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and channels_in == channels_out:
        return None
    projection = nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(channels_out))


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions and a short cut.

    A block that keeps the size where the plain network halves it has its first convolution on the positions of the
    layer before, its second on every other one: so the first one keeps the dilation of the layer before.
    """

    expansion = 1

    def __init__(self, channels_in: int, inner: int, *, stride: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        first, second = dilations
        self.conv1 = nn.Conv2d(channels_in, inner, 3, stride, padding=first, dilation=first, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=second, dilation=second, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(channels_in, inner, stride)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(images)))))
        short = images if self.downsample is None else self.downsample(images)
        result: Tensor = self.relu(hidden + short)
        return result


class _Bottleneck(nn.Module):
    """Convolutions 1x1 (fewer channels), 3x3 and 1x1 (four times as many), and a short cut."""

    expansion = 4

    def __init__(self, channels_in: int, inner: int, *, stride: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        dilation = dilations[0]
        self.conv1 = nn.Conv2d(channels_in, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, inner * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(inner * self.expansion)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(channels_in, inner * self.expansion, stride)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu(self.bn1(self.conv1(images)))
        hidden = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(hidden)))))
        short = images if self.downsample is None else self.downsample(images)
        result: Tensor = self.relu(hidden + short)
        return result
