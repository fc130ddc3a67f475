"""The text of the unit."""

import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

# Stopping also ends workers, and takes 1 to 2 s beyond what requests in flight get.
STOP_SPARE_SECONDS = 15

_STATE_ROOT = Path("/var/lib")
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - nothing is written there

_UNIT = Template("""\
# Made by `imgpro-lite systemd`. Changes of your own: systemctl edit imgpro-lite
[Unit]
Description=imgpro-lite image server
Wants=network-online.target
After=network-online.target
RequiresMountsFor=$mount

[Service]
Type=notify
NotifyAccess=main
ExecStart=$command
# Secrets, such as IMGPRO_MAIL_PASSWORD=…, in a file that only root can read. It need not exist.
EnvironmentFile=-/etc/imgpro-lite/environment
User=$user
Group=$user
UMask=0077
$directories

# A wrong configuration (status 2) does not become right by itself; everything else is tried again.
Restart=on-failure
RestartPreventExitStatus=2
RestartSec=3
# The event loop says twice in this time that it goes round.
WatchdogSec=60
# A large database that an upgrade migrates may take minutes until the server is ready.
TimeoutStartSec=15min
# Requests in flight get $shutdown_seconds s ([server] shutdown_seconds); workers end with the server, not before it.
TimeoutStopSec=$stop_seconds
KillMode=mixed

# The kernel takes a worker when memory runs out, and the server makes another: that must not stop the service.
# Workers share out half of MemoryMax.
MemoryHigh=75%
MemoryMax=85%
OOMPolicy=continue
TasksMax=512
# Two files for each connection: enough for the 100,000 that [server] max_connections may be.
LimitNOFILE=262144
LimitCORE=0

# What the server cannot do. It needs the network, its data directory, and processes of its own for decoding,
# which shut themselves in further (landlock, seccomp, prctl, setrlimit).
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=$protect_home
PrivateTmp=yes
PrivateMounts=yes
PrivateDevices=yes
PrivateUsers=yes
PrivateIPC=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @keyring @memlock @aio
SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
""")


@dataclass(frozen=True)
class Installation:
    """Where the parts are, on this machine."""

    program: tuple[str, ...]
    data_dir: Path
    config_path: Path | None
    user: str
    places: tuple[Path, ...]  # what must be readable
    is_single_file: bool

    @property
    def state_name(self) -> str:
        """The data directory below /var/lib, which systemd then makes and gives to the user; or nothing."""
        if _STATE_ROOT not in self.data_dir.parents or ":" in str(
            self.data_dir
        ):  # after a colon it takes a link's name
            return ""
        return str(self.data_dir.relative_to(_STATE_ROOT))

    @property
    def is_below_home(self) -> bool:
        return self._is_below(_HOMES)

    @property
    def is_below_temporary(self) -> bool:
        return self._is_below(_TEMPORARY)

    def _is_below(self, directories: tuple[Path, ...]) -> bool:
        return any(directory in place.parents for place in self.places for directory in directories)


def unit_text(installation: Installation, shutdown_seconds: int) -> str:
    """The unit, for requests that get so long to finish."""
    data_dir = installation.data_dir
    command = [*installation.program, "serve", "--data-dir", str(data_dir)]
    if installation.config_path:
        command += ["--config", str(installation.config_path.absolute())]
    return _UNIT.substitute(
        command=" ".join(_quoted(word).replace("$", "$$") for word in command),
        mount=_quoted(str(data_dir)),
        user=installation.user,
        directories="\n".join(_directories(installation)),
        shutdown_seconds=shutdown_seconds,
        stop_seconds=shutdown_seconds + STOP_SPARE_SECONDS,
        protect_home="read-only" if installation.is_below_home else "yes",
    )


def _directories(installation: Installation) -> list[str]:
    """Where the server may write."""
    if installation.state_name:
        lines = [f"StateDirectory={_quoted(installation.state_name)}", "StateDirectoryMode=0700"]
    else:
        lines = [f"ReadWritePaths={_quoted(str(installation.data_dir))}"]
    if installation.is_single_file:  # it unpacks itself there, once
        lines += ["CacheDirectory=imgpro-lite", "CacheDirectoryMode=0700"]
    return lines


def _quoted(word: str) -> str:
    """A word as systemd.syntax(7) has it: % begins a specifier, and what is not plain stands in quotes."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return escaped if re.fullmatch(r"[\w./@:+,=%-]+", escaped, re.ASCII) else f'"{escaped}"'
