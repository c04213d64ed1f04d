"""Notifications: always to the log, and to a webhook where one is configured."""

import logging

import dagster as dg

from resources.environments import Environment, read_environment

LOGGER = logging.getLogger("mlops_assets.notifier")


class Notifier(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Posts `{"title", "text", "product", "level"}` as JSON to `webhook_url` (empty: log only)."""

    # empty: MLOPS_WEBHOOK_URL, read when it notifies; a configured address, which may hold a token, is readable in the UI
    webhook_url: str = ""
    timeout_seconds: float = 5.0

    @classmethod
    def of(cls, environment: Environment) -> "Notifier":
        is_in_variable = environment.webhook_url == read_environment().webhook_url
        return cls(webhook_url="" if is_in_variable else environment.webhook_url)

    def notify(self, *, title: str, text: str, product: str, level: str = "warning") -> str:
        """Returns what became of it, in words: a dead webhook is reported, and never fails the asset that notifies."""
        LOGGER.warning("%s: %s", title, text)
        address = self.webhook_url or read_environment().webhook_url
        if not address:
            return "logged; no webhook is configured (MLOPS_WEBHOOK_URL)"
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
            # the address may hold a token, so neither it nor the error's text is shown
            reason = (
                f"status {error.response.status_code}"
                if isinstance(error, httpx.HTTPStatusError)
                else type(error).__name__
            )
            LOGGER.error("the webhook did not take the notification (%s)", reason)
            return f"logged; the webhook failed ({reason})"
        return "logged and posted to the webhook"
