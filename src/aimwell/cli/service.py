"""``aimwell service``, ``aimwell serve`` and ``aimwell key``: the HTTP interface, all that runs, who may call."""

from __future__ import annotations

import signal
import sys
from datetime import datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.instants import show_instant
from aimwell.cli.output import add_row, emit, make_table, state, warn
from aimwell.core.text import Text, current_language, say

if TYPE_CHECKING:
    from pathlib import Path

    from aimwell.service.keys import Key
    from aimwell.service.supervising import Program

app = App(help="Keys of programs that call the service.  调用服务的程序密钥")
Host = Annotated[str, typer.Option(help="The address to listen on.  监听地址")]
Port = Annotated[
    int, typer.Option(min=0, max=65535, help="The port; 0: any free one.  端口；0 为任意空闲端口")
]
Workers = Annotated[
    int, typer.Option(min=1, max=64, help="Processes that answer; more than one with PostgreSQL.  服务进程数")
]
KeyId = Annotated[str, typer.Argument(help="The beginning of the key, such as aw_0123….  密钥前缀")]


def service(
    context: typer.Context,
    host: Host = "127.0.0.1",
    port: Port = 8600,
    workers: Workers = 1,
    socket: Annotated[int | None, typer.Option("--fd", hidden=True)] = None,
) -> None:
    """Serve the HTTP interface: events in, live decisions out, links, pages and webhooks; until interrupted.

    启动 HTTP 服务：接收事件、实时决策、链接、页面与回调；直到中断
    """
    from socket import socket as Socket

    from aimwell.core.logs import configure_logs
    from aimwell.service.server import open_socket, run_server

    if workers > 1:
        _supervise(context, host, port, workers, with_worker=False)
        return
    workspace = state(context).workspace
    configure_logs(format=workspace.settings.logs.format, level=workspace.settings.logs.level)
    if socket is not None:
        run_server(workspace, Socket(fileno=socket))
        return
    run_server(workspace, open_socket(host, port), tell=lambda address: _tell_address(context, address))


def serve(context: typer.Context, host: Host = "127.0.0.1", port: Port = 8600, workers: Workers = 1) -> None:
    """Run everything on this machine: the service and the worker; what dies is started again; until interrupted.

    在本机运行全部：服务与后台整理；意外退出会自动重启；直到中断
    """
    _supervise(context, host, port, workers, with_worker=True)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The program that uses it.  使用该密钥的程序")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may do: write (send events), decide, read, admin.  权限：write、decide、read、admin"
        ),
    ] = None,
    rate: Annotated[int, typer.Option(help="Requests a second at most.  每秒请求上限")] = 1_000,
) -> None:
    """Make a key; it is shown this once.  创建密钥；仅显示这一次"""
    from aimwell.service.keys import create_key

    key, secret = create_key(state(context).workspace.store, name, scope or ["write"], rate=rate)
    _show_new(context, key, secret)


@app.command(name="list")
def list_all(context: typer.Context) -> None:
    """List the keys, without their secrets.  列出密钥（不含密文）"""
    from aimwell.service.keys import list_keys

    rows = [key.to_dict() for key in list_keys(state(context).workspace.store)]
    emit(context, {"keys": rows}, lambda console: _draw(context, console, rows))


@app.command()
def rotate(
    context: typer.Context,
    key: KeyId,
    hours: Annotated[
        float, typer.Option(min=0, help="How long the old one still works.  旧密钥仍有效的小时数")
    ] = 24,
) -> None:
    """Make a successor that may do the same; the old key ends later.  轮换密钥；旧密钥稍后失效"""
    from aimwell.service.keys import rotate_key

    made, secret = rotate_key(state(context).workspace.store, key, overlap=timedelta(hours=hours))
    _show_new(context, made, secret)


@app.command()
def revoke(context: typer.Context, key: KeyId) -> None:
    """End a key at once.  立即吊销密钥"""
    from aimwell.service.keys import revoke_key

    ended = revoke_key(state(context).workspace.store, key)
    message = say("The key {key} opens nothing any more.", key=ended.key_id)
    emit(context, ended.to_dict(), lambda console: _print(console, message))


def _supervise(context: typer.Context, host: str, port: int, workers: int, *, with_worker: bool) -> None:
    from aimwell.service.server import name_address, open_socket
    from aimwell.service.sharing import open_folder
    from aimwell.service.supervising import Supervisor

    # Once for all: a workspace that cannot be opened is said here, and not by each child.
    folder = str(state(context).workspace.path)
    state(context).close()
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with open_socket(host, port) as listener, open_folder() as shared:
        listener.set_inheritable(True)
        programs = _list_programs(
            folder, listener.fileno(), workers, shared, with_worker=with_worker, as_json=state(context).json
        )
        _tell_address(context, name_address(listener))
        Supervisor(programs, _tell_death).run(stop)


def _list_programs(
    folder: str, listener: int, workers: int, shared: Path, *, with_worker: bool, as_json: bool = False
) -> list[Program]:
    from aimwell.service.sharing import VARIABLE
    from aimwell.service.supervising import Program, make_command

    # The children speak as their parent was told to: the variables that they inherit do not know the options.
    manner = ["--json"] if as_json else []
    ours = make_command(*manner, "--language", current_language(), "-w", folder)
    variables = {VARIABLE: str(shared)} if workers > 1 else {}
    services = [
        Program(f"service-{number}", [*ours, "service", "--fd", str(listener)], (listener,), variables)
        for number in range(1, workers + 1)
    ]
    return [*services, *([Program("worker", [*ours, "worker"])] if with_worker else [])]


def _tell_address(context: typer.Context, address: str) -> None:
    message = say("Listening on {address}. End with Ctrl-C.", address=address)
    emit(context, {"url": address}, lambda console: _print(console, message))
    sys.stdout.flush()


def _tell_death(name: str, code: int) -> None:
    warn(say("The process {name} ended with {code}; it is started again.", name=name, code=code))


def _show_new(context: typer.Context, key: Key, secret: str) -> None:
    def draw(console: Console) -> None:
        _print(console, say("The key, shown this once:"))
        console.print(secret, markup=False, highlight=False, soft_wrap=True)
        _print(
            console, say("It may: {scopes}. Its name is {name}.", scopes=", ".join(key.scopes), name=key.name)
        )

    emit(context, {**key.to_dict(), "key": secret}, draw)


def _draw(context: typer.Context, console: Console, rows: list[dict[str, Any]]) -> None:
    table = make_table(*(str(one) for one in (say("Key"), say("Name"), say("May"), say("State"))))
    for row in rows:
        add_row(table, row["key_id"], row["name"], ", ".join(row["scopes"]), str(_name_state(context, row)))
    console.print(table)


def _name_state(context: typer.Context, row: dict[str, Any]) -> Text:
    if row["revoked_at"]:
        return say("revoked")
    if not row["valid"]:
        return say("ended")
    if row["expires_at"]:
        return say("valid until {end}", end=show_instant(context, datetime.fromisoformat(row["expires_at"])))
    return say("valid")


def _print(console: Console, message: Text) -> None:
    console.print(str(message), markup=False, highlight=False, soft_wrap=True)
