"""The program that PyInstaller packs."""

from imgpro_lite.frozen import start

start()
