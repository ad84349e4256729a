"""A polite BitTorrent Mainline DHT crawler."""

__version__ = "0.1.0"
