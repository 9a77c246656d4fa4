"""The peers as their users run them: networks, training loops and samplers of diffusers and lucidrains."""

import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.networks import NetworkShape
from mezzotint.networks.unet import UNet, UNetOptions
from mezzotint.training.loop import Feed

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.optimization import get_cosine_schedule_with_warmup
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from diffusers.training_utils import EMAModel

    from diffusers_names import renamed_state, theirs, unpatched

OURS = UNetOptions()  # channels 64, multipliers (1, 2, 2, 2), 2 blocks, attention at 16 px: 9.0 M parameters
SHAPE = NetworkShape(3, 3, 32)
_STEPS = 1000  # of their noise schedules


def images(feed: Feed, batch_size: int) -> Iterator[Tensor]:
    """Yield float32 [N, 3, 32, 32] in [-1, 1], each mirrored or not, as their data pipelines do."""
    position = 0
    while True:
        pixels, _ = feed(position, batch_size)
        position += batch_size
        mirrored = torch.rand(batch_size, 1, 1, 1) < 0.5
        batch = pixels.float() / 127.5 - 1
        yield torch.where(mirrored, batch.flip(3), batch)


def diffusers_network(single_head: bool) -> UNet2DModel:
    """Return diffusers' U-Net of our size: with its own eight channels a head, or with one head of all channels."""
    attends = [False, True, False, False]
    return UNet2DModel(
        sample_size=32,
        block_out_channels=(64, 128, 128, 128),
        layers_per_block=2,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        attention_head_dim=128 if single_head else 8,
    )


def diffusers_update(
    network: UNet2DModel, batches: Iterator[Tensor], tuned: bool, compiled: bool
) -> Callable[[], None]:
    """Return one update of diffusers' unconditional example: DDPM noise, AdamW, clipping, cosine rate, average.

    `tuned`: bf16 autocast and channels-last, as someone would tune that script by hand.
    """
    device = next(network.parameters()).device
    scheduler = DDPMScheduler(num_train_timesteps=_STEPS)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    rate = get_cosine_schedule_with_warmup(optimizer, 500, 100_000)
    average = EMAModel(network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=3 / 4)
    layout = torch.channels_last if tuned else torch.contiguous_format
    network.train().to(memory_format=layout)  # pyright: ignore[reportCallIssue]  (untyped decorator)
    called = torch.compile(network, dynamic=False) if compiled else network

    def update() -> None:
        x0 = next(batches).to(device).contiguous(memory_format=layout)
        n = torch.randn_like(x0)
        t = torch.randint(0, _STEPS, (len(x0),), device=device)
        x = scheduler.add_noise(x0, n, t)  # pyright: ignore[reportArgumentType]  (their IntTensor is any of integers)
        with torch.autocast(device.type, torch.bfloat16, enabled=tuned):
            loss = F.mse_loss(called(x, t).sample.float(), n)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
        average.step(network.parameters())

    return update


def lucidrains_network() -> nn.Module:
    """Return denoising-diffusion-pytorch's U-Net of about our size, inside its diffusion."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet  # noqa: PLC0415  (optional)

    return GaussianDiffusion(Unet(dim=64, dim_mults=(1, 2, 2, 2)), image_size=32, timesteps=_STEPS)


def lucidrains_update(diffusion: nn.Module, batches: Iterator[Tensor]) -> Callable[[], None]:
    """Return one update of its Trainer: loss in float32, clipping, Adam, average every ten updates."""
    from ema_pytorch import EMA  # noqa: PLC0415  (optional)

    device = next(diffusion.parameters()).device
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=8e-5, betas=(0.9, 0.99))
    average = EMA(diffusion, beta=0.995, update_every=10)

    def update() -> None:
        loss = diffusion((next(batches).to(device) + 1) / 2)
        loss.backward()
        nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update()

    return update


# --- Sampling ----------------------------------------------------------------------------------------------------


def sized_network(ours: UNet) -> UNet2DModel:
    """Return diffusers' network of our sizes with weights of its own, without classes.

    It sees what is left once our patches are folded into channels.
    """
    options, shape = unpatched(ours.options, replace(ours.shape, num_classes=0))
    return theirs(options, shape).eval().requires_grad_(False)


def same_network(ours: UNet) -> UNet2DModel:
    """Return diffusers' network with our weights; AssertionError unless both give the same output."""
    other = theirs(ours.options, ours.shape).eval().requires_grad_(False)
    other.load_state_dict(renamed_state(ours), strict=True)
    check_same(ours, other)
    return other


@torch.no_grad()
def check_same(ours: UNet, other: UNet2DModel) -> None:
    """Raise AssertionError where two networks differ on a random input in float32."""
    from mezzotint.contracts import Condition  # noqa: PLC0415

    shape = ours.shape
    x, t = torch.randn(2, shape.channels_in, shape.image_size, shape.image_size), torch.tensor([3.0, 700.0])
    torch.testing.assert_close(ours(x, t, Condition()), other(x, t).sample, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def diffusers_ddim(network: UNet2DModel, x: Tensor, steps: int) -> Tensor:
    """Return codes drawn by the loop of DDIMPipeline from standard normal x [N, C, H, W]."""
    scheduler = DDIMScheduler(num_train_timesteps=_STEPS)
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t).sample, int(t), x, return_dict=False)[0]
    return x
