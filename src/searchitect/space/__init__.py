"""Space."""
from searchitect.space.architecture import Architecture

__all__ = ["Architecture"]
