"""With the approval key in its environment the API takes up only bundles that were signed with it."""

from dataclasses import replace

from examples.flights.flight_delay import flight_delay
from tests.serving.running_api import a_client, eventually, everywhere
from tests.tiny_bundle import deploy_tiny

KEY = "0123456789abcdef0123456789abcdef"
MODEL = "/v1/models/flight_delay"


@everywhere
def test_a_bundle_of_strangers_is_not_taken_up_and_the_one_before_serves(workspace, row):
    deploy_tiny(replace(workspace, approval_key=KEY).of(flight_delay), 1)
    with a_client(workspace, [flight_delay], approval_key=KEY) as client:
        deploy_tiny(workspace.of(flight_delay), 2)  # by somebody who has no key

        eventually(lambda: "is not signed" in (client.get(MODEL).json()["last_swap_error"] or ""))
        assert client.post(f"{MODEL}/predict", json={"rows": [row]}).json()["version"] == 1

        replace(workspace, approval_key=KEY).of(flight_delay).bundles.sign(2)
        eventually(lambda: client.post(f"{MODEL}/predict", json={"rows": [row]}).json()["version"] == 2)
