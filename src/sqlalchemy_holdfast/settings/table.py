"""The settings: a row for each."""

from __future__ import annotations

from .setting import Setting

__all__ = ["SETTINGS"]

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "enabled",
        True,
        "Whether holdfast does anything. When this is off, the engine is exactly as SQLAlchemy made it. Use it to "
        "compare, or to find out whether a problem comes from holdfast.",
    ),
    Setting(
        "defer_rollback",
        True,
        "Whether a read may end without waiting for the reply to its ROLLBACK. holdfast sends the ROLLBACK at once and "
        "reads the reply before the connection is next used. When this is off, holdfast waits for every ROLLBACK, as "
        "stock SQLAlchemy does.",
    ),
    Setting(
        "pipeline",
        "auto",
        "Whether holdfast may send the next statement while the reply to such a ROLLBACK is still on its way. It reads "
        "both replies in order. With auto, it does not do so when it recognises something between the site and its "
        "server that may not accept it, such as MySQL Router. Then, and with false, it waits for the reply first. With "
        "true, it does so whatever it recognises. Needs defer_rollback.",
        word="auto",
    ),
    Setting(
        "reset",
        "off",
        "What happens to a session that a checkout has changed: a user variable, a temporary table, sql_mode, a named "
        "lock, USE, and so on. With off, the next user of the connection finds it changed, as with stock SQLAlchemy. "
        "With changed, holdfast puts the session back first, without one more wait for the server. A checkout that "
        "changes nothing costs nothing.",
        choices=("off", "changed"),
    ),
    Setting(
        "replay",
        True,
        "Whether the first statement of a checkout may run on a new connection when its own is lost. If nothing was "
        "sent yet, holdfast replaces the connection. If the statement was sent and only reads, holdfast repeats it on "
        "a new connection. When this is off, both raise the driver's error.",
    ),
    Setting(
        "probe_after_idle",
        30.0,
        "After which idle time a TCP connection makes one round trip before it is used. It is needed because a "
        "firewall that forgot the connection sends nothing that holdfast could notice. A shorter time finds a silent "
        "loss sooner, and costs quiet sites more round trips. When this is off, only the TCP settings below find a "
        "silent loss.",
        unit="seconds",
        minimum=0,
        maximum=86400,
        can_be_off=True,
    ),
    Setting(
        "probe_timeout",
        5.0,
        "How long that round trip may take. After this time holdfast replaces the connection. Five seconds are enough "
        "even when two packets are lost (TCP sends again after 0.2 s, 0.4 s, 0.8 s, 1.6 s).",
        unit="seconds",
        minimum=0.05,
        maximum=300,
    ),
    Setting(
        "keepalive_idle",
        60.0,
        "TCP keepalive: after which idle time the kernel checks the connection. It checks again after each sixth of "
        "that time, and gives the connection up after three checks without an answer. Firewalls and load balancers "
        "forget a connection that was idle for about a minute or more; keepalive prevents that. When this is off, the "
        "socket is as the driver made it.",
        unit="seconds",
        minimum=1,
        maximum=32767,
        can_be_off=True,
    ),
    Setting(
        "tcp_user_timeout",
        60.0,
        "TCP_USER_TIMEOUT: how long sent bytes may stay unacknowledged before the kernel gives the connection up. It "
        "works on Linux, whose own limit is about fifteen minutes. It never limits a slow query. It does cut off a "
        "server that reads nothing for this time, as LOAD DATA LOCAL may do while it waits for a row lock. The default "
        "is above the 50 s of innodb_lock_wait_timeout for that reason.",
        unit="seconds",
        minimum=1,
        maximum=3600,
        can_be_off=True,
    ),
    Setting(
        "budget",
        "learned",
        "How many connections all processes together may have. They share them when they run on one machine as one "
        "user, and use the same server with the same account. With learned, it is what the server says "
        "(max_user_connections, max_connections), if that is 200 or less. When this is off, processes do not share; "
        "holdfast still waits for a server that is full.",
        unit="connections",
        minimum=1,
        maximum=100000,
        can_be_off=True,
        whole=True,
        word="learned",
    ),
    Setting(
        "headroom",
        1,
        "How many of these connections are left for the owner's own console. A process without any connection that "
        "would get none otherwise, or a process that shares with no other, may use one of them for one request.",
        unit="connections",
        minimum=0,
        maximum=1000,
        whole=True,
    ),
    Setting(
        "budget_directory",
        None,
        "In which directory the file is through which processes share. When this is off, it is a directory that "
        "belongs to the user, in /dev/shm or the system's temporary directory. Containers share when they have the "
        "same directory.",
        unit="path",
        can_be_off=True,
    ),
    Setting(
        "tls",
        None,
        "Whether connections are encrypted, and what is verified of the server's certificate, with one meaning for "
        "every driver. holdfast looks at each new connection, and closes one that is not what was asked for before it "
        "is used. off: no TLS. preferred: TLS if the server offers it. required: TLS, with whatever certificate. "
        "verify-ca: TLS, and an authority of holdfast_tls_ca has signed the certificate. verify-identity: that, and "
        "the certificate is for the host in the URL. When this is not set, the driver decides, and a warning says when "
        "it did not do what its own arguments ask for.",
        choices=("off", "preferred", "required", "verify-ca", "verify-identity"),
        none_means="the driver decides",
        yes_means="required",
    ),
    Setting(
        "tls_ca",
        None,
        "Which authorities count for holdfast_tls=verify-ca and verify-identity: those in this file (PEM), which your "
        "host offers for download, and no others. With system, which is the default of verify-identity, those that the "
        "operating system trusts.",
        unit="file",
        word="system",
        none_means="verify-identity takes system",
    ),
    Setting(
        "wait_for_server",
        10.0,
        "How long a checkout tries again when nothing answers at the server's address, as during a restart. When the "
        "server has been away for longer, requests fail at once until it is back. When this is off, they always do.",
        unit="seconds",
        minimum=0,
        maximum=3600,
        can_be_off=True,
    ),
    Setting(
        "max_waiting_for_server",
        "auto",
        "How many threads of a process may wait for a server that does not answer. One more fails at once with "
        "ServerAway, so that the others can answer what needs no database. With auto, holdfast leaves a quarter of the "
        "web server's threads free, at least one, where it knows their number: under uWSGI, gunicorn, waitress, "
        "Starlette and FastAPI. A process with a single thread waits, for 3 s at most. Everywhere else, as in scripts "
        "and in Celery, every thread may wait. When this is off, every thread may wait everywhere.",
        unit="threads",
        minimum=1,
        maximum=100000,
        can_be_off=True,
        whole=True,
        word="auto",
    ),
    Setting(
        "max_waiting",
        None,
        "How many threads of a process may wait for a connection at the same time. One more fails at once instead of "
        "waiting for pool_timeout, so an overloaded site says so quickly. When this is off, there is no limit.",
        unit="threads",
        minimum=0,
        maximum=100000,
        can_be_off=True,
        whole=True,
    ),
    Setting(
        "leak_warning",
        300.0,
        "After which time a warning names a connection that is still checked out. The warning comes once and names the "
        "line that checked the connection out; nothing is done to the connection. A warning also names a line whose "
        "connection the garbage collector had to return. When this is off, there is no such warning.",
        unit="seconds",
        minimum=0.05,
        maximum=86400,
        can_be_off=True,
    ),
    Setting(
        "password",
        None,
        "A function that returns the database password, for one that changes. It is a keyword argument of "
        "create_engine, or stands in SQLALCHEMY_ENGINE_OPTIONS; in a URL there is no place for it. holdfast calls it "
        "without arguments for each new connection. It returns a str, or a sqlalchemy_holdfast.Password with the time "
        "for which the password is valid and kept. Several threads may call it. The URL then has no password.",
        unit="function",
        can_be_off=True,
    ),
    Setting(
        "password_file",
        None,
        "The file that has the database password, as a secret that is mounted into a container. holdfast reads it for "
        "each new connection, so it may be replaced at any time. A newline at its end does not count. The URL then has "
        "no password.",
        unit="file",
        can_be_off=True,
    ),
    Setting(
        "password_command",
        None,
        "The command that prints the database password on its standard output, and nothing else. holdfast runs it for "
        "each new connection, without a shell, for 10 s at the most. What it says on its standard error is shown when "
        "it fails. The URL then has no password.",
        unit="command",
        can_be_off=True,
    ),
    Setting(
        "password_ttl",
        None,
        "For how long such a password is kept and used for further connections before it is asked for again. It is "
        "asked for sooner when the server refuses it. When this is off, it is asked for at each new connection, unless "
        "holdfast_password says for how long it is valid.",
        unit="seconds",
        minimum=1,
        maximum=86400,
        can_be_off=True,
    ),
    Setting(
        "uncommitted_warning",
        "debug",
        "Whether a warning names a line whose INSERT, UPDATE, DELETE or REPLACE was rolled back because its session or "
        "connection was closed without commit(). It comes once for each line, and never after an error or a call of "
        "rollback(). With debug, it comes in Flask's debug mode only, when the site uses holdfast's class for Flask. "
        "While it is on, holdfast looks at each statement after it was run, which costs some microseconds.",
        word="debug",
    ),
)
"""The settings table, in the order the documentation shows it."""
