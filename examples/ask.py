"""Asks a language model on this machine about sensors. For its answer, it calls the tools of ``torchliquid mcp``.

    python examples/ask.py http://127.0.0.1:8080/v1 "Is the pump well?" --live pump=model.safetensors,tcp://10.0.0.7:5000

The first argument is any server with OpenAI's chat API and tool calls, such as llama.cpp's ``llama-server``. The
arguments after the question are those of ``torchliquid mcp``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio
import httpx2

from mcp import Client, StdioServerParameters

ROUNDS = 10
"""How often the model may call tools before its answer."""


def offered(tool: Any) -> dict[str, Any]:
    """A tool in the form of OpenAI's API."""
    about = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
    return {"type": "function", "function": about}


async def ask(address: str, question: str, options: list[str]) -> str:
    """The model's answer."""
    server = StdioServerParameters(command=sys.executable, args=["-m", "torchliquid", "mcp", *options])
    async with Client(server) as sensors, httpx2.AsyncClient(base_url=address.rstrip("/") + "/", timeout=600) as model:
        tools = [offered(tool) for tool in (await sensors.list_tools()).tools]
        chat: list[dict[str, Any]] = [
            {"role": "system", "content": f"{sensors.instructions}\nAnswer in short sentences, with figures."},
            {"role": "user", "content": question},
        ]
        for _ in range(ROUNDS):
            said = await model.post("chat/completions", json={"model": "local", "messages": chat, "tools": tools})
            said.raise_for_status()
            message = said.json()["choices"][0]["message"]
            chat.append(message)
            if not message.get("tool_calls"):
                return str(message["content"])
            for call in message["tool_calls"]:
                wanted = call["function"]
                found = await sensors.call_tool(wanted["name"], json.loads(wanted["arguments"] or "{}"))
                chat.append({"role": "tool", "tool_call_id": call["id"], "content": found.content[0].text})
    return f"No answer after {ROUNDS} rounds of questions."


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    print(anyio.run(ask, sys.argv[1], sys.argv[2], sys.argv[3:]))
