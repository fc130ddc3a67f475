"""`python -m imgpro_lite` is the command `imgpro-lite`."""

from imgpro_lite.cli.main import main

main()
