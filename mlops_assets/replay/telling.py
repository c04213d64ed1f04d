"""Prints the summary of a replay: the table, the reasons of the decisions, what inconclusive readings need, the plot."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console

from mlops_assets.products.policy import Action
from mlops_assets.replay.periods import deployed_after
from mlops_assets.replay.picture import replay_figure
from mlops_assets.replay.story import (
    actions_in_words,
    decisions_table,
    weeks_of,
    what_inconclusive_needs,
    year_table,
)
from mlops_assets.state.workspace import ProductState


def tell(state: ProductState, deployed: Mapping[str, int], console: Console) -> None:
    product, weeks = state.product, weeks_of(state)
    if not weeks:
        return
    console.print()
    console.print(year_table(product, weeks, dict(deployed)))
    if any(week.decision.action is not Action.NONE for week in weeks):
        console.print(decisions_table(weeks))
    console.print(actions_in_words(weeks))
    for sentence in what_inconclusive_needs(product, weeks):
        console.print(sentence, soft_wrap=True)
    with state.reports.replacing("replay", "latest", "png") as picture:
        replay_figure(product, weeks, deployed).savefig(picture, dpi=110, format="png")
    console.print(f"picture: {state.reports.address('replay', 'latest', 'png')}", soft_wrap=True)


@contextmanager
def summary_when_interrupted(state: ProductState, console: Console, resume_command: str) -> Iterator[None]:
    """If the block fails or is interrupted, print the periods so far and the command that continues."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        # without scores, because nobody who interrupts wants to wait for predictions
        if weeks := weeks_of(state, is_scored=False):
            console.print()
            console.print(year_table(state.product, weeks, deployed_after(state)))
        console.print(f"interrupted. The results so far are in {state.workspace.home}. To continue:", soft_wrap=True)
        console.print(f"  {resume_command}", soft_wrap=True, highlight=False)
        raise
