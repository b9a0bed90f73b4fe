"""Runs: a fitted model with all that belongs to it."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from amortized import tasks
from amortized.evaluation import Evidence, Metric, evaluate
from amortized.evaluation.evidence import METRICS
from amortized.evaluation.records import as_rows
from amortized.fitted import Fitted
from amortized.folder import Folder
from amortized.processes import is_first
from amortized.recipes import Spec
from amortized.showing import Table, Tabled
from amortized.training import Outcome
from amortized.training.checkpoints import state_tensors, write_tensors

if TYPE_CHECKING:
    from amortized.export import Exported
    from amortized.studies import Evaluation, Show


@dataclass(eq=False)
class Run(Fitted, Tabled):
    """A fitted model with all that belongs to it: how it came to be, and how good it is.

    Attributes:
        history: One row per validation.
        metrics: The evidence by split, as in `metrics.json`.
        outcome: How training ended; None for a run that was loaded.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None

    @property
    def finished(self) -> bool:
        """Whether training came to its end; False where a signal stopped it."""
        return self.outcome is None or self.outcome.finished

    @property
    def path(self) -> Path | None:
        """The run folder."""
        return None if self.folder is None else self.folder.path

    def evaluate(
        self,
        data: Any = None,
        *,
        split: str = "test",
        samples: int = 1000,
        target_stderr: float | None = None,
        budget: str | float | None = None,
        only: Sequence[str] | str | None = None,
        seed: int = 0,
        precision: Literal["32", "bf16"] = "32",
        factors: Any = None,
        show: "Show | None" = None,
    ) -> "Evaluation":
        """Say how good the model and its inference are, from all sides, the most informative first.

        What was done before with the same weights, data and seed is taken from the run folder: what was interrupted goes on.

        Args:
            data: Other data than those of the run: anything that `fit` takes; used whole, unless they bring splits.
            split: "train", "valid" or "test", of the run's own data or of data that bring splits.
            samples: Posterior samples per datum of the evidence.
            target_stderr: The Monte Carlo standard error that each log p(x) is to have, nats: samples double as it takes.
            budget: The time for it, such as "2m" or a number of seconds; None for all in the usual sizes.
            only: The names of some of the analyses (`amortized.studies.ANALYSES`); None for all that the model and data allow.
            seed: Of all that is random.
            precision: "bf16" computes the networks' products of the evidence in it.
            factors: The true factors of the data, for disentanglement: an array (N, F) with a row for each of the data's source,
                or the name of such an array in its file; None takes `factors` where it is there.
            show: Is told of each step as it is done.

        Raises:
            InputError: The data are not there or do not fit, a named analysis cannot be done, or the budget is too small.
        """
        from amortized.studies import evaluate_run

        how: dict[str, Any] = {"samples": samples, "target_stderr": target_stderr, "seed": seed, "precision": precision}
        return evaluate_run(self, data, split=split, budget=budget, only=only, factors=factors, show=show, **how)

    def evidence(
        self,
        data: Any = None,
        *,
        split: str = "test",
        samples: int = 1000,
        target_stderr: float | None = None,
        seed: int = 0,
        precision: Literal["32", "bf16"] = "32",
        progress: Any = None,
    ) -> Evidence:
        """Estimate the ELBO and log p(x) alone, with their errors; the run's `metrics.json` gets the result.

        Args:
            data: As in `evaluate`.
            split: As in `evaluate`.
            samples: Posterior samples per datum.
            target_stderr: As in `evaluate`.
            seed: Of the posterior samples.
            precision: As in `evaluate`.
            progress: Called with the number of data done, after each chunk.

        Of several processes all must call it.

        Raises:
            InputError: The data are not there, or do not fit the model.
        """
        name, batches = self.batches(data, split)
        first = list(islice(batches, 1))
        is_discrete = any(tasks.is_discrete(self.model, batch) for batch in first)
        dimensions, batches = self.model.event_shape.numel() if is_discrete else None, chain(first, batches)
        how: dict[str, Any] = {"samples": samples, "target_stderr": target_stderr, "seed": seed, "precision": precision}
        evidence = evaluate(self.model, batches, split=name, dimensions=dimensions, progress=progress, **how)
        self.metrics[name] = {key: metric for key, metric in self.metrics.get(name, {}).items() if key not in METRICS}
        self.metrics[name] |= {key: asdict(metric) for key, metric in evidence.metrics.items()}
        if self.folder is not None and is_first():
            self.folder.write_metrics({name: self.metrics[name]})
        return evidence

    def explore(self, *, host: str = "127.0.0.1", port: int = 8765, split: str | None = None, open_browser: bool = True) -> None:
        """Serve a page on which the model is explored, until it is interrupted (Ctrl-C).

        Args:
            host: What to bind to; by default this machine alone can reach it.
            port: The port; 0 takes a free one.
            split: The part of the data that is on the map; None takes the first that there is of test, valid and train.
            open_browser: Whether to open the page in the browser.

        Raises:
            InputError: The split is not there, the port is taken, or the extra `amortized[explore]` is not installed.
        """
        from amortized.explore import serve

        serve(self, host=host, port=port, split=split, open_browser=open_browser)

    def report(self, path: str | os.PathLike[str] | None = None, *, seconds: float = 10.0) -> Path:
        """Write the page of this run, one HTML file that needs nothing else; `amortized.report.write_report` says more.

        Args:
            path: The file; by default `report.html` in the run folder.
            seconds: About how long it may take.

        Raises:
            InputError: There is no folder and no path, or the file cannot be written.
        """
        from amortized.report import write_report

        return write_report(self, path, seconds=seconds)

    def export(self, to: str = "onnx", out: str | os.PathLike[str] | None = None) -> "Exported":
        """Write the model in a form that works without this library: "onnx" graphs, "torch" programs, or an "html" page.

        Args:
            to: As in `amortized.export.export`.
            out: As there; by default in the run folder.

        Raises:
            InputError: Nothing of the model can be exported, or a package is not installed.
        """
        from amortized.export import export

        return export(self, to, out)

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Write the model alone, `config.json` and `model.safetensors`, in the conventions of the Hugging Face Hub.

        Raises:
            InputError: There is a run or a file at the path, or it cannot be written to.
        """
        folder = Folder(path)
        folder.create_for_model()
        assert isinstance(self.model, nn.Module)
        folder.write_model_description(self.recipe, self.spec)
        write_tensors(folder.weights, state_tensors(self.model), {"format": "pt"})

    def tables(self) -> list[Table]:
        """What it is made of and how it was trained; and the evidence of each split that is known."""
        found = {
            split: as_rows({name: Metric(**metric) for name, metric in metrics.items()})
            for split, metrics in self.metrics.items()
        }
        evidence = [(split, *row) for split, rows in found.items() for row in rows if row[0] in METRICS]
        known = Table("Evidence", ("split", "metric", "value", "kind"), evidence, right=(2,))
        return [Table("Run", rows=list(self._description().items()), right=()), *([known] if evidence else [])]

    def _description(self) -> dict[str, str]:
        assert isinstance(self.model, nn.Module)
        described, objective, spec = self.recipe.model, self.recipe.objective, self.spec
        parts = f"{type(self.model).__name__}, composed by hand"
        if described is not None:
            named = {"prior": described.prior, "posterior": described.posterior, "likelihood": described.likelihood}
            kinds = ", ".join(f"{part} {value.kind}" for part, value in named.items() if value is not None)
            parts = f"{type(self.model).__name__}: {kinds}; latent of {described.latent_dim}"
        last = self.history[-1] if self.history else {}
        trained = f"{last['step']:,} steps, {last['epoch']:,} epochs" if last else "no row of a history"
        return {
            "model": f"{parts}; {sum(weight.numel() for weight in self.model.parameters()):,} parameters",
            "data": f"{_values(spec)}, each datum of shape {tuple(spec.event_shape)}",
            "objective": "of the user's own" if objective is None else objective.kind,
            "training": trained + ("" if self.outcome is None else f"; {self.outcome.stopped}"),
            **({} if self.path is None else {"folder": str(self.path)}),
        }

    def __repr__(self) -> str:
        """What it is, on what, and where."""
        parts = [type(self.model).__name__, f"event {tuple(self.spec.event_shape)}"]
        if self.history:
            parts.append(f"{self.history[-1]['step']} steps")
        if self.path is not None:
            parts.append(f"in '{self.path}'")
        return f"Run({', '.join(parts)})"


def _values(spec: Spec) -> str:
    """The kind of values that data have, in words."""
    named = {"levels": f"whole numbers of {spec.levels} levels", "unit": "values in [0, 1]", "real": "real numbers"}
    return named.get(spec.support, f"{spec.support} values" if spec.support == "binary" else spec.support)
