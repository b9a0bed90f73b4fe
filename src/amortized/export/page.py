"""The explorer's page in one file, which opens from a disk: its parts inlined, the model as ONNX, the runtime and some data.

Nothing is requested: scripts and styles stand in the file and the policy of its content names their hashes; the runtime is a
module that the page makes of its own content, as a blob, and its WebAssembly is handed to it. What the page knows of the model
and the data is one JSON, with arrays in base64, of which `explore/page/local.js` makes answers.
"""

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amortized.errors import InputError
from amortized.export.carrying import carried_by
from amortized.export.exported import Exported
from amortized.files import write_atomically

if TYPE_CHECKING:
    from amortized.runs import Run

PAGE = Path(__file__).parents[1] / "explore" / "page"
RUNTIME = Path(__file__).parents[1] / "explore" / "vendor" / "onnxruntime-web"
CARRIED = ("runtime-code", "runtime-wasm", "carried")


def export_page(run: "Run", out: Path) -> Exported:
    """Write the page of a run.

    Args:
        run: The run.
        out: The file.

    Returns:
        The file, how far its graphs are from torch, and why it cannot encode, where it cannot.

    Raises:
        InputError: The decoder cannot be exported, a package is not installed, or the file cannot be written.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"a page is written to a file .html; out is '{out}'; name it e.g. '{out.with_suffix('.html')}'.")
    carried, differences, left_out = carried_by(run)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write '{out}': {error.strerror}; give a path that you may write to.") from error
    write_atomically(out, assemble(carried))
    return Exported((out,), differences, left_out)


def assemble(carried: dict[str, Any]) -> str:
    """The page's file, of what it carries.

    Args:
        carried: What `local.js` answers from.
    """
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    style = (PAGE / "style.css").read_text(encoding="utf-8")
    names = re.findall(r'<script src="([\w-]+\.js)" defer></script>\n?', html)
    html = re.sub(r'<script src="[\w-]+\.js" defer></script>\n?', "", html)
    scripts = [_script(name) for name in names]
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src 'wasm-unsafe-eval' blob: {' '.join(map(_hash, scripts))}",
            f"style-src {_hash(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    html = html.replace('<meta name="viewport"', head + '<meta name="viewport"', 1)
    html = html.replace('<link rel="stylesheet" href="style.css">', f"<style>{style}</style>", 1)
    code = base64.b64encode(gzip.compress((RUNTIME / "ort.wasm.bundle.min.mjs").read_bytes(), 9, mtime=0)).decode()
    wasm = base64.b64encode((RUNTIME / "ort-wasm-simd-threaded.wasm.gz").read_bytes()).decode()
    # In JSON a "<" may be written so; in HTML it could end the element.
    known = json.dumps(carried, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    blocks = [
        f'<script type="text/plain" id="{name}">{content}</script>'
        for name, content in zip(CARRIED, (code, wasm, known), strict=True)
    ]
    blocks += [f"<script>{script}</script>" for script in scripts]
    return html.replace("</body>", "\n".join(blocks) + "\n</body>", 1)


def _script(name: str) -> str:
    """One of the page's scripts; in the place of the backend that asks a server stands the one that asks no one."""
    if name != "server.js":
        return (PAGE / name).read_text(encoding="utf-8")
    own = [(PAGE / local).read_text(encoding="utf-8") for local in ("paths.js", "local.js")]
    return "\n".join((*own, "const BACKEND = Local;\n"))


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
