"""What carries messages out. Every channel keeps the protocol in ``channel.py`` and says what it can promise."""
