"""imgpro-lite: the hosted img.pro image API on your own machine."""

__version__ = "0.1.0"
