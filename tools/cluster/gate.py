"""Runs in a pod, as a file on its own: connects clients to any address of the cluster's network.

A client sends `HOST PORT` and a line end, and gets a line back, `ok` or what went wrong; from then on it talks to that
port. `way_in` is the other side.
"""

from __future__ import annotations

import asyncio
import contextlib

PORT = 7777


async def join(near: tuple[asyncio.StreamReader, asyncio.StreamWriter], far: asyncio.StreamWriter) -> None:
    """Hand on what the near side sends until it ends."""
    reader, _ = near
    with contextlib.suppress(OSError):
        while octets := await reader.read(65536):
            far.write(octets)
            await far.drain()
        far.write_eof()


async def both(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter], far: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Join two connections until both sides have ended."""
    try:
        await asyncio.gather(join(near, far[1]), join(far, near[1]))
    finally:
        near[1].close()
        far[1].close()


async def _client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        host, port = (await reader.readline()).decode().split()
        far = await asyncio.open_connection(host, int(port))
    except (OSError, ValueError) as error:
        writer.write(f"{error}\n".encode())
        writer.close()
        return
    writer.write(b"ok\n")
    await both((reader, writer), far)


async def main() -> None:
    """Serve until the pod ends."""
    server = await asyncio.start_server(_client, "0.0.0.0", PORT)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
