"""nginx with the README's configuration: how fast image bytes come from its cache, against the same file as nginx sends
files from a folder.

Both are asked for in turn, of the same nginx on one core, over TLS as the configuration has it, on connections that
stay open.
"""

from collections.abc import Iterator
from pathlib import Path

from proxies import find_program, nginx  # of the tests

from benchmarks import wrk
from benchmarks.client import fetch
from benchmarks.harness import Row, Server, at_least, imgpro, median, owner_key, photograph, scratch, spread, upload

# The sizes that pages show most.
SIZES = ("s", "m")
MEGAPIXELS = 2
ROUNDS = 5
GOAL_RATIO = 0.9


def run() -> Iterator[Row | str]:
    """Requests a second from the cache, and their ratio to those of a plain file."""
    core = wrk.cores()
    if core is None or find_program("nginx") is None:
        yield "nginx's cache needs nginx, wrk, taskset and two cores, so it is left out"
        return
    with scratch() as folder, imgpro(folder / "data") as server:
        (folder / "files").mkdir()
        plain = f"location /files/ {{ alias {folder}/files/; }}"
        port = int(server.url.rpartition(":")[2])
        # wrk names the host of the address in its handshake.
        with nginx(folder, port, plain, prefix=wrk.pinned(core[0]), pages_host="localhost") as proxy:
            source = photograph(folder / "photo.jpg", MEGAPIXELS)
            path = upload(server, owner_key(folder / "data"), source).removeprefix(server.url)
            for size in SIZES:
                plain_file = folder / "files" / f"{size}.jpeg"
                plain_file.write_bytes(fetch(f"{server.url}{path}?size={size}").body)
                url = f"https://localhost:{proxy.https_port}"
                addresses = (f"{url}{path}?size={size}", f"{url}/files/{size}.jpeg")
                yield _compare(addresses, plain_file.stat().st_size, proxy.pid, core[1])


def _compare(addresses: tuple[str, str], size_bytes: int, nginx_pid: int, core: int) -> Row:
    for address in addresses:
        wrk.load(address, core)
    rounds = [[_rates(address, nginx_pid, core) for address in addresses] for _ in range(ROUNDS)]
    ratios = [cached[0] / plain[0] for cached, plain in rounds]
    cached_rate, plain_rate = (median([one[index][1] for one in rounds]) for index in (0, 1))
    size_kb = size_bytes // 1024
    note = f"{spread(ratios, 2)}; {cached_rate:.0f} and {plain_rate:.0f} requests a second"
    what = f"nginx: bytes of {size_kb} KB from its cache / a plain file"
    return at_least(what, median(ratios), "", GOAL_RATIO, note)


def _rates(address: str, nginx_pid: int, core: int) -> tuple[float, float]:
    """Requests for each second of nginx's processor time, which other programs of the machine take nothing from, and
    for each second of the clock."""
    nginx_process = Server(nginx_pid, "", Path(), 0)
    before = nginx_process.cpu_seconds()
    load = wrk.load(address, core)
    return load.requests / (nginx_process.cpu_seconds() - before), load.requests_per_second
