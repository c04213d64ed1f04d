"""Notifications: always to the log, and to a webhook and apprise's services where these are configured."""

import logging
import warnings

import dagster as dg

from resources.environments import Environment, read_environment

LOGGER = logging.getLogger("mlops_assets.notifier")
MARK = "notification: "  # `mlops up` finds them in a log by it


class Notifier(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Posts `{"title", "text", "product", "level"}` as JSON to `webhook_url` (empty: log only)."""

    # empty: MLOPS_WEBHOOK_URL is read for each notification; the UI would show a configured address, which may contain a token
    webhook_url: str = ""
    timeout_seconds: float = 5.0

    @classmethod
    def of(cls, environment: Environment) -> "Notifier":
        is_in_variable = environment.webhook_url == read_environment().webhook_url
        return cls(webhook_url="" if is_in_variable else environment.webhook_url)

    def notify(self, *, title: str, text: str, product: str, level: str = "warning") -> str:
        """Send it; returns the result as a sentence. A receiver that does not answer is reported and never fails the asset."""
        LOGGER.warning("%s%s: %s", MARK, title, " ".join(text.split()))
        environment = read_environment()
        address = self.webhook_url or environment.webhook_url
        results = [self._post(address, title, text, product, level)] if address else []
        results += [_send(environment.notify_urls, title, text, level)] if environment.notify_urls else []
        return f"logged; {'; '.join(results) or 'sent to nobody (set MLOPS_WEBHOOK_URL or MLOPS_NOTIFY_URLS)'}"

    def _post(self, address: str, title: str, text: str, product: str, level: str) -> str:
        import httpx

        logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs the address of every request
        try:
            answer = httpx.post(
                address,
                json={"title": title, "text": text, "product": product, "level": level},
                timeout=self.timeout_seconds,
            )
            answer.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # the address may contain a token, so neither it nor the error's text is shown
            reason = (
                f"status {error.response.status_code}"
                if isinstance(error, httpx.HTTPStatusError)
                else type(error).__name__
            )
            LOGGER.error("the webhook did not accept the notification (%s)", reason)
            return f"the webhook failed ({reason})"
        return "posted to the webhook"


def _send(addresses: tuple[str, ...], title: str, text: str, level: str) -> str:
    """Send it to every apprise address; an address may contain a token, so only its kind is named."""
    kinds = {"error": "failure", "warning": "warning"}
    sent: list[str] = []
    failed: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its plugins import modules that Python 3.13 removed
        import apprise

        for name, level_of_log in (("apprise", logging.CRITICAL), ("urllib3", logging.WARNING)):
            logging.getLogger(name).setLevel(level_of_log)  # they log addresses
        for address in addresses:
            receiver = apprise.Apprise()
            is_sent = receiver.add(address) and receiver.notify(
                body=text, title=title, notify_type=apprise.NotifyType(kinds.get(level, "info"))
            )
            kind, separator, _ = address.partition("://")
            (sent if is_sent else failed).append(kind if separator else "an address without ://")
    if failed:
        LOGGER.error("not notified: %s. Check the addresses in MLOPS_NOTIFY_URLS.", ", ".join(failed))
    result = f"sent by {', '.join(sent)}" if sent else "sent to nobody"
    return f"{result}; {', '.join(failed)} failed" if failed else result
