"""The command that writes a run's model in a form that works without this library."""

from pathlib import Path
from typing import Literal

from amortized.cli.commands import app, load


@app.command(help_epilogue="Example: amortized export runs/digits --to html --out digits.html")
def export(run: Path, /, *, to: Literal["onnx", "torch", "html"] = "onnx", out: Path | None = None) -> None:
    """Write a run's model as ONNX graphs, as torch.export programs, or as a page that explores it by itself.

    Args:
        run: The run folder.
        to: onnx or torch, a folder with the encoder and the decoder, which take any number of rows and are held against torch;
            or html, the explorer's page in one file, which works without a server.
        out: The folder, or the file of the page; by default in the run folder.
    """
    made = load(run, "cpu").export(to, out)
    for name, difference in made.differences.items():
        print(f"{name}: agrees with torch to {difference:.1e} of its largest value.")
    for name, reason in made.left_out.items():
        print(f"{name}: left out; {reason}")
    for file in made.files:
        print(f"Wrote {file} ({file.stat().st_size / 1e6:.1f} MB).")
