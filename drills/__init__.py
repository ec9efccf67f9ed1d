"""Accidents that nothing may be lost by, rehearsed in small clones; see ``python -m drills --list``."""
