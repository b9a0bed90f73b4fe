"""How a fit is watched: the lines that it prints, a live page and trackers while it goes on, and the page at its end.

None of them changes what comes of it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from amortized.errors import InputError
from amortized.folder import Folder
from amortized.recipes import Plan
from amortized.training.progress import Reporter, Several, Silent, make_reporter
from amortized.training.trackers import Tracking, make_loggers

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.loggers.logger import Logger

    from amortized.explore.live import Feed
    from amortized.runs import Run


@dataclass(frozen=True)
class Watching:
    """How a fit is watched.

    Attributes:
        quiet: Print nothing.
        live: Whether to serve the live page, or the port to serve it at.
        logger: The trackers, as `make_loggers` takes them.
        report: Whether `report.html` is written at the end.
    """

    quiet: bool = False
    live: bool | int = False
    logger: Any = None
    report: bool = True

    def loggers(self, folder: Folder | None) -> list["Logger"]:
        """The loggers for the run's Fabric, after a check that all that was asked for can be had.

        Raises:
            InputError: A package is missing, or a name or the port is none.
        """
        if self.live:
            from amortized.explore.live_server import check_installed

            check_installed()
            if not isinstance(self.live, int) or not 0 < self.live < 2**16:
                raise InputError(f"live is {self.live!r}; give True, or a port from 1 to 65535.")
        return make_loggers(self.logger, None if folder is None else folder.path)

    @contextmanager
    def begun(self, made: Plan, name: str, folder: Folder | None, fabric: "Fabric") -> Iterator["Watched"]:
        """Watch a fit from before its first step until its files are written; of several processes only the first is watched.

        Args:
            made: What is trained.
            name: Of the data.
            folder: The run folder.
            fabric: Where it is trained, with the `loggers`.
        """
        watched = Watched([Silent() if self.quiet else make_reporter()])
        with ExitStack() as stack:
            if fabric.global_rank == 0 and self.live:
                stack.enter_context(self._shown(watched, made, name, folder))
            if fabric.global_rank == 0 and fabric.loggers:
                watched.track(Tracking(fabric, made.recipe.model_dump(mode="json"), say=watched.reporter.say))
            try:
                yield watched
            except BaseException as error:
                watched.fail(error)
                raise

    @contextmanager
    def _shown(self, watched: "Watched", made: Plan, name: str, folder: Folder | None) -> Iterator[None]:
        from amortized.explore.glimpses import Glimpses
        from amortized.explore.live import Feed, Live
        from amortized.explore.live_server import PORT, showing

        port = PORT if self.live is True else self.live
        feed = Feed(about(made, name, folder))
        with showing(feed, port) as address:
            if not self.quiet:
                taken = "" if f":{port}/" in address else f" (port {port} is taken)"
                print(f"Training is shown live at {address}{taken}", flush=True)
            for note in made.notes:
                feed.tell(line=note[:1].upper() + note[1:])
            watched.show(feed, Live(feed, Glimpses(made.model, made.spec, made.valid, made.recipe.seed)))
            yield


class Watched:
    """A fit that is watched.

    Args:
        reporters: Whom the loop tells of each step; more may be added.
    """

    def __init__(self, reporters: list[Reporter]):
        self._reporters = reporters
        self._feed: Feed | None = None
        self._tracking: Tracking | None = None

    @property
    def reporter(self) -> Reporter:
        """All reporters as one."""
        return Several(*self._reporters)

    def show(self, feed: "Feed", live: Reporter) -> None:
        """Feed the live page too."""
        self._feed = feed
        self._reporters.append(live)

    def track(self, tracking: Tracking) -> None:
        """Tell the trackers too."""
        self._tracking = tracking
        self._reporters.append(tracking)

    def end(self, run: "Run") -> None:
        """Tell how it ended: the run has its files."""
        assert run.outcome is not None
        if self._feed is not None:
            state = "finished" if run.finished else "stopped"
            ended = {"why": run.outcome.stopped, "kept": run.outcome.best_step, "step": run.outcome.steps}
            self._feed.end(state=state, metrics=run.metrics.get("test", {}), **ended)
        if self._tracking is not None:
            self._tracking.end(run.metrics, run.outcome.steps)
            self._tracking.close("success" if run.finished else "aborted")

    def fail(self, error: BaseException) -> None:
        """Tell that it failed."""
        if self._tracking is not None:
            self._tracking.close("failed")
        if self._feed is not None:
            self._feed.end(state="failed", why=str(error) or type(error).__name__)


def about(made: Plan, name: str, folder: Folder | None) -> dict[str, Any]:
    """What a page says of a run throughout: the data, the parts of the model, and where the run is kept."""
    model, parts = made.recipe.model, {}
    if model is None:
        parts["model"] = type(made.model).__name__
    else:
        parts |= {part: getattr(model, part).kind for part in ("prior", "posterior", "likelihood", "network")}
        parts["latent dimensions"] = model.latent_dim
    parts["objective"] = made.objective.name
    return {"data": name, "parts": parts, "folder": None if folder is None else str(folder.path)}
