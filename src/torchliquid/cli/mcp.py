"""``torchliquid mcp``: live sensors, models and recordings for a language model."""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
from pathlib import Path
from typing import Annotated

import typer

from torchliquid.cli import options
from torchliquid.cli.loading import loading
from torchliquid.cli.terminal import Terminal
from torchliquid.errors import InputError
from torchliquid.files import check_model_file

TOKEN = "TORCHLIQUID_MCP_TOKEN"

LIVE = re.compile(r"([A-Za-z0-9][\w.-]{0,63})=(.+?),((?:exec|serial|tcp|mqtts?|replay):.+)")


def mcp(
    live: Annotated[
        list[str] | None,
        typer.Option(
            help="A live sensor: a name of your choice, its model and its source, which is exec:COMMAND, "
            "serial:PORT?baud=115200, tcp://HOST:PORT, mqtt://HOST:PORT/TOPIC or replay:FILE?speed=1; may be given "
            "again."
        ),
    ] = None,
    folder: Annotated[
        list[Path] | None, typer.Option(help="A folder whose models and recordings may be read; may be given again.")
    ] = None,
    studies: Annotated[
        Path | None, typer.Option(help="Where studies are written; without it, none can be started.")
    ] = None,
    http: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Serve over HTTP on this port of the loopback (0: any that is free) instead of the standard streams.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"Holds the token for HTTP; without it, ${TOKEN}, or else a new one, which is printed."),
    ] = None,
    allow_control: Annotated[
        bool, typer.Option("--allow-control", help="Let thresholds and alarms be changed.")
    ] = False,
    log: Annotated[Path | None, typer.Option(help="Append each change to this file, as a line of JSON.")] = None,
) -> None:
    """Let a language model ask what sensors say, over the Model Context Protocol.

    It lists and explains models, says what a live model answers now, why, since when and how often, predicts
    recordings, and starts studies. Nothing outside the named folders is read, and nothing is changed unless allowed.
    """
    if not live and not folder:
        raise InputError("there is nothing to ask about; give --live NAME=MODEL,SOURCE or --folder FOLDER")
    named = [_named(text) for text in live or ()]
    for name, model, _ in named:
        check_model_file(Path(model))
        if [one for one, *_ in named].count(name) > 1:
            raise InputError(f"--live {name}: there are two of that name; give each its own")
    if token_file is not None and http is None:
        raise InputError("--token-file is for HTTP; give --http PORT too")
    if log is not None:
        options.check_writable(log, option="--log")
    if studies is not None and studies.exists() and not studies.is_dir():
        raise InputError(f"--studies {studies} is a file; name a folder")
    token = None if http is None else _token(token_file)
    with loading():
        try:
            from torchliquid.mcp import server
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] == "torchliquid":
                raise
            raise InputError("mcp needs the MCP SDK; run: pip install 'torchliquid[mcp]'") from None
        from torchliquid.mcp.folders import Folders
        from torchliquid.mcp.sources import Source
        from torchliquid.mcp.studies import Studies
        from torchliquid.mcp.tools import Tools
        from torchliquid.mcp.watch import Watch
        from torchliquid.models import Predictor
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")  # on the standard error
    sources = [Source.parse(source) for *_, source in named]
    watches = [Watch(n, Predictor.load(m), str(s)) for (n, m, _), s in zip(named, sources, strict=True)]
    own = None if studies is None else Studies(studies)
    tools = Tools(watches, Folders(folder or []), own, log)
    made = server.make(tools, own is not None, allow_control, token)
    stop = threading.Event()
    socket = None if http is None else server.listening(http)
    threads = [source.start(watch, stop) for source, watch in zip(sources, watches, strict=True)]
    try:
        if socket is None:
            server.over_stdio(made)
        else:
            console = Terminal(stderr=True)
            console.print(f"Serving at http://{server.HOST}:{socket.getsockname()[1]}/mcp")
            if token_file is None and TOKEN not in os.environ:
                console.print(f"Token: {token}")
            server.over_http(made, socket)
    finally:
        stop.set()
        if own is not None:
            own.stop()
        for thread in threads:
            thread.join(2)


def _named(text: str) -> tuple[str, str, str]:
    """A live sensor's name, its model's file and its source."""
    found = LIVE.fullmatch(text)
    if found is None:
        raise InputError(
            f"--live {text}: give NAME=MODEL,SOURCE, like pump=model.safetensors,tcp://192.168.0.7:5000; a source is "
            "exec:COMMAND, serial:PORT, tcp://HOST:PORT, mqtt://HOST:PORT/TOPIC or replay:FILE"
        )
    return found[1], found[2], found[3]


def _token(file: Path | None) -> str:
    """The token that a client must know."""
    token = os.environ.get(TOKEN) or secrets.token_urlsafe(32)
    if file is not None:
        if not file.is_file():
            raise InputError(f"--token-file {file}: no such file; write a long random word into one")
        token = file.read_text("utf-8").strip()
    if len(token) < 16:
        raise InputError("the token has fewer than 16 characters; take a longer one")
    return token
