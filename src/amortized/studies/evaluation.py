"""The evaluation of a run: all that the library can say of how good the model and its inference are."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from amortized.errors import InputError, nearest
from amortized.evaluation import Evidence, Finding, Metric
from amortized.evaluation.importance import check_samples
from amortized.evaluation.records import as_table, as_text
from amortized.processes import is_first, world
from amortized.reading import Reading, read
from amortized.showing import Table, Tabled
from amortized.studies.analyses import make_steps
from amortized.studies.budget import TOO_SMALL, Advance, Budget, Done, Step, carry_out, to_seconds
from amortized.studies.keeping import Keeper, identify
from amortized.studies.material import Material
from amortized.studies.pictures import write_picture

if TYPE_CHECKING:
    from amortized.runs import Run


class Show(Protocol):
    """Is told of an evaluation while it goes on."""

    def begin(self, step: Step) -> Advance:
        """A step begins; what this gives is called with the number of data done."""
        ...

    def end(self, step: Step, done: Done | str) -> None:
        """A step has ended, or was left out for a reason."""
        ...


@dataclass(frozen=True, eq=False)
class Evaluation(Tabled):
    """What the analyses of a run found.

    Attributes:
        split: The data they are about.
        data: How many there are.
        done: The steps that were done, by name, each with its `finding`.
        left_out: Why others were not.
        titles: What each step is, in a few words.
        seconds: How long it took.

    `evaluation["surgery"]` is the finding of a step.
    """

    split: str
    data: int
    done: dict[str, Done] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __getitem__(self, name: str) -> Finding:
        """The finding of a step.

        Raises:
            InputError: It was not done.
        """
        if name in self.done:
            return self.done[name].finding
        reason = f"was left out: {self.left_out[name]}" if name in self.left_out else f"was not done; {nearest(name, self.done)}"
        raise InputError(f"'{name}' {reason}")

    @property
    def evidence(self) -> Evidence:
        """The ELBO and log p(x) of every datum."""
        return self["evidence"]  # pyright: ignore[reportReturnType]

    @property
    def metrics(self) -> dict[str, Metric]:
        """The numbers of all steps by name."""
        return {name: metric for done in self.done.values() for name, metric in done.finding.metrics.items()}

    @property
    def notes(self) -> list[str]:
        """What a reader must know, of all steps."""
        return [note for done in self.done.values() for note in done.finding.notes]

    def __str__(self) -> str:
        """A table for each step."""
        parts = [f"{self.split} split, {self.data:,} data, {self.seconds:.1f} s"]
        for name, done in self.done.items():
            parts.append(as_text(heading(self.titles[name], done), done.finding.metrics, done.finding.notes))
        return "\n\n".join([*parts, "\n".join(f"{name}: left out; {reason}" for name, reason in self.left_out.items())]).rstrip()

    def tables(self) -> list[Table]:
        """A table for each step, and what was left out."""
        whole = Table(f"Evaluation: {self.split} split, {self.data:,} data, {self.seconds:.1f} s")
        steps = self.done.items()
        made = [as_table(heading(self.titles[name], done), done.finding.metrics, done.finding.notes) for name, done in steps]
        rest = [Table("Left out", rows=list(self.left_out.items()), right=())] if self.left_out else []
        return [whole, *made, *rest]


def heading(title: str, done: Done) -> str:
    """What a step is and how much of it was done."""
    options = ", ".join(f"{count:,} {name}" for name, count in done.size.options.items())
    return f"{title} ({options}; {done.seconds:.1f} s{', kept' if done.is_kept else ''})"


def evaluate_run(
    run: "Run",
    data: Any = None,
    *,
    split: str = "test",
    samples: int = 1000,
    target_stderr: float | None = None,
    budget: str | float | None = None,
    only: Sequence[str] | str | None = None,
    seed: int = 0,
    precision: str = "32",
    factors: Any = None,
    show: Show | None = None,
    pictures: bool = True,
    firm: bool = True,
) -> Evaluation:
    """Do the analyses that a run's model and data allow; `Run.evaluate` says more.

    `pictures` writes those of the analyses into the run folder; without `firm` the first step may take longer than the budget.
    """
    check_samples(samples, target_stderr)
    limit = None if budget is None else to_seconds(budget)
    if limit is not None and world() > 1:
        raise InputError(f"a budget needs one process, and there are {world()}; leave out the budget, or --devices.")
    budgeted, began = Budget(limit, is_firm=firm), time.monotonic()
    reading = read(run, data, split)
    how: dict[str, Any] = {"target_stderr": target_stderr, "seed": seed, "precision": precision, "factors": factors}
    material = Material(run, data, split, reading, samples=samples, **how)
    keeper = Keeper(run.path, reading.name, _identity(run, reading), material.settings)
    kept, material.parts = keeper.read(), keeper.parts
    if "evidence" in kept:
        material.evidence = kept["evidence"].finding  # pyright: ignore[reportAttributeAccessIssue]
    steps, left_out = make_steps(material, only)
    made = Evaluation(reading.name, reading.count, {}, left_out, {step.name: step.title for step in steps})
    for step, done in carry_out(steps, budgeted, kept, lambda step: show.begin(step) if show else None):
        if isinstance(done, str):
            made.left_out[step.name] = done
        else:
            made.done[step.name] = done
            _write(run, reading.name, keeper, step, done)
            file = keeper.picture(step.name)
            if pictures and file is not None and is_first() and not (done.is_kept and file.exists()):
                write_picture(step.name, done.finding, material, file)
        if show is not None:
            show.end(step, done)
        if not is_first():
            break  # the evidence is shared out among the processes; the rest is the work of one
        if step.name == "evidence" and not isinstance(done, str):
            material.evidence = done.finding  # pyright: ignore[reportAttributeAccessIssue]
    refused = [(name, reason) for name, reason in made.left_out.items() if reason != TOO_SMALL]
    if only is not None and refused:
        raise InputError(f"'{refused[0][0]}' cannot be done: {refused[0][1]}")
    return replace(made, seconds=time.monotonic() - began)


def kept_of(run: "Run", material: Material) -> dict[str, Done]:
    """What evaluations of the same weights and data, by the same settings, left in the run folder, by the name of the step."""
    reading = material.reading
    return Keeper(run.path, reading.name, _identity(run, reading), material.settings).read()


def _identity(run: "Run", reading: Reading) -> str:
    """Of the weights and the data; a run that is not in a folder keeps nothing."""
    if run.folder is None:
        return ""
    return identify(run.folder.weights, reading.whole.fingerprint, reading.name, reading.count)


def _write(run: "Run", split: str, keeper: Keeper, step: Step, done: Done) -> None:
    """Keep a step, and write its metrics beside those of the other steps, in the place of its own from before."""
    if not is_first():
        return
    before = keeper.names(step.name)
    keeper.write(step.name, done)
    others = {name: metric for name, metric in run.metrics.get(split, {}).items() if name not in before}
    run.metrics[split] = others | {name: asdict(metric) for name, metric in done.finding.metrics.items()}
    if run.folder is not None:
        run.folder.write_metrics({split: run.metrics[split]})
