"""Reports are data of strangers: whatever is in one, a browser keeps it away from the API."""

import pytest

from tests.serving.running_api import a_client


@pytest.mark.parametrize("name", ["page.html", "card.md", "absent.html"])
def test_every_report_is_served_in_a_sandbox(workspace, name):
    for written in ("page.html", "card.md"):
        workspace.objects.put(f"reports/flight_delay/{written}", b"<script>alert(1)</script>")

    with a_client(workspace) as client:
        answer = client.get(f"/reports/flight_delay/{name}")

    assert answer.status_code == (404 if name == "absent.html" else 200)
    if answer.status_code == 200:
        policy = answer.headers["content-security-policy"].split("; ")
        assert "sandbox allow-scripts" in policy
        assert "default-src 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    else:
        assert answer.headers["content-type"] == "application/problem+json"
