"""A page of one's own machine that shows what a model sees, and takes a person's word on what to learn next."""

from semiseg.app.serving import App, opened_app

__all__ = ["App", "opened_app"]
