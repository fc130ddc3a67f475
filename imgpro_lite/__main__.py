"""`python -m imgpro_lite` is the command `imgpro-lite`."""

import sys


def run() -> None:
    """Run the command line. Ctrl-C ends it quietly while it is still being imported, which takes 0.2 s, too."""
    try:
        from imgpro_lite.cli.main import main
    except KeyboardInterrupt:
        sys.exit(130)  # as shells have it
    main()


if __name__ == "__main__":
    run()
