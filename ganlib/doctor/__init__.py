"""Checks of services, credentials and resources before work is started."""
