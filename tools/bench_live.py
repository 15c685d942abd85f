"""Compare setting λ in a live model with its limit: reading both endpoints and writing the model once.

    python tools/bench_live.py --gigabytes 1 --device cpu

Makes bfloat16 tensors with the shapes of a Qwen3 decoder, times `LiveModel.set_lambda` for changing λ, and
prints the time beside that of copying the same bytes at the speed of the device's memory, with one JSON line.
Also times the kernel of the arithmetic alone, for the nine inner λ of an eleven-λ grid on one large vector.
"""

import json
import statistics
import time
from collections.abc import Callable
from datetime import datetime, timezone
from fractions import Fraction

import click
import torch
from ceilings import commit, processor
from random_pair import shapes_of
from readme_section import put_section
from torch import Tensor

from dami_merge.lambdas import even_grid
from dami_merge.live import LiveModel
from dami_merge.tensors.kernels import TORCH, Kernel, fastest


def seconds(device: torch.device, what: Callable[[int], object], repeats: int) -> float:
    """Median time of one call, to the end of the device's work."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    what(0)
    times = []
    for number in range(repeats):
        wait()
        began = time.perf_counter()
        what(number)
        wait()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def memory_gb_s(device: torch.device, repeats: int) -> float:
    """GB/s of copying within the device's memory, reads and writes both counted."""
    source = torch.ones(1 << 28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * len(source) / seconds(device, lambda _: target.copy_(source), repeats) / 1e9


def three_models(device: torch.device, gigabytes: float) -> list[dict[str, Tensor]]:
    """A model's parameters, and two endpoints."""
    generator = torch.Generator(device).manual_seed(0)
    _, shapes = shapes_of("qwen3", gigabytes)
    return [
        {
            name: torch.randn(shape, generator=generator, device=device).to(torch.bfloat16)
            for name, shape in shapes
        }
        for _ in range(3)
    ]


def kernel_s(device: torch.device, kernel: Kernel, repeats: int) -> tuple[float, int]:
    """Time of the arithmetic for nine inner λ of one vector, and the bytes it reads and writes."""
    elements, inner = 1 << 26, even_grid(10)[1:-1]
    left, right = (torch.randn(elements, device=device).to(torch.bfloat16) for _ in range(2))
    out = torch.empty(len(inner), elements, dtype=torch.bfloat16, device=device)
    nonfinite = torch.zeros(1, dtype=torch.int32, device=device)
    taken = seconds(device, lambda _: kernel.interpolate(left, right, inner, out, nonfinite), repeats)
    return taken, (2 + len(inner)) * 2 * elements


@click.command(help=__doc__)
@click.option("--gigabytes", default=1.0, show_default=True, help="Size of one model.")
@click.option("--device", default="cpu", show_default=True, help="Device to measure.")
@click.option("--repeats", default=20, show_default=True, help="Number of repeats of each measurement.")
@click.option("--readme", is_flag=True, help="Write the table into tools/README.md.")
def main(*, gigabytes: float, device: str, repeats: int, readme: bool) -> None:
    where = torch.device(device)
    parameters, instruct, thinking = three_models(where, gigabytes)
    size_bytes = sum(tensor.nbytes for tensor in parameters.values())
    fast = fastest(where, output_bytes=16 * size_bytes)
    limit_s = 3 * size_bytes / memory_gb_s(where, repeats) / 1e9
    rows = []
    for kernel in dict.fromkeys((fast, TORCH)):
        live = LiveModel(parameters, instruct, thinking, kernel=kernel)
        taken = seconds(where, lambda n, live=live: live.set_lambda(Fraction(1 + n % 9, 10)), repeats)  # type: ignore[misc]
        alone, moved = kernel_s(where, kernel, repeats)
        rows.append((kernel.name, taken, taken / limit_s, moved / alone / 1e9))
    today = datetime.now(tz=timezone.utc).date().isoformat()
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else processor()
    lines = [
        f"A {size_bytes / 1e9:.1f} GB bfloat16 model, median of {repeats}, on {name}, {today}, commit"
        f" `{commit()}`. The limit, three times the model's bytes at the speed of a copy in the device's"
        f" memory, is {limit_s * 1e3:.1f} ms. Beside it what the arithmetic alone reads and writes for nine λ"
        " at once.",
        "",
        "| kernel | `set_lambda`, ms | times the limit | nine λ, GB/s |",
        "|---|---|---|---|",
        *(
            f"| {kernel} | {taken * 1e3:.1f} | {ratio:.2f} | {rate:.1f} |"
            for kernel, taken, ratio, rate in rows
        ),
    ]
    click.echo("\n".join(lines))
    if readme:
        put_section("bench_live", lines)
    record = {
        "commit": commit(),
        "device": name,
        "date": today,
        "size_bytes": size_bytes,
        "limit_s": limit_s,
        "kernels": {
            kernel: {"set_lambda_s": taken, "to_limit": ratio, "nine_lambda_gb_s": rate}
            for kernel, taken, ratio, rate in rows
        },
    }
    click.echo(json.dumps(record, sort_keys=True))


if __name__ == "__main__":
    main()
