"""Letters to requesters: what they say (`letters/`), how they leave (`send.py`), and when (`outbox.py`)."""
