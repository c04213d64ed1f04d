"""Tells a replay on the console: the table, why each period was decided so, what is missing, the picture."""

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
def told_when_cut_short(state: ProductState, console: Console, how_to_go_on: str) -> Iterator[None]:
    """Whatever goes wrong in the block, the story so far is told, and how it goes on. how_to_go_on: a command."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        # without scores: whoever interrupts does not wait for predictions
        if weeks := weeks_of(state, is_scored=False):
            console.print()
            console.print(year_table(state.product, weeks, deployed_after(state)))
        console.print(f"cut short. What was made is kept in {state.workspace.home}. To go on with it:", soft_wrap=True)
        console.print(f"  {how_to_go_on}", soft_wrap=True, highlight=False)
        raise
