"""A TCP proxy between one process and one server, for everything that a network does wrong."""

import asyncio
import random
import socket
import struct
import threading

_loop = asyncio.new_event_loop()
threading.Thread(target=_loop.run_forever, daemon=True, name="proxies").start()

UP, DOWN = "up", "down"


class Proxy:
    """Listens on a port of its own and passes bytes on to a server's port, unless told otherwise.

    `watch(direction, data)` sees every piece: it returns what to pass on, or `None` to break the connection
    before that piece.
    """

    def __init__(self, target):
        self.target = target
        self.refuses = False
        self.watch = None
        # Of each direction: `pass`, `hold` (bytes are read and not passed on), `slow`.
        self.modes = {UP: "pass", DOWN: "pass"}
        self.delay = 0.0
        self.bytes_per_second = None
        self.broken = 0
        self._connections = set()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), _loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _listen(self):
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _accept(self, reader, writer):
        if self.refuses:
            self._reset(writer)
            return
        try:
            upstream, upward = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            self._reset(writer)
            return
        pair = (writer, upward)
        self._connections.add(pair)
        try:
            # One direction's end is the connection's end; nobody here half-closes.
            tasks = [
                asyncio.ensure_future(self._pump(UP, reader, upward, pair)),
                asyncio.ensure_future(self._pump(DOWN, upstream, writer, pair)),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        finally:
            self._connections.discard(pair)
            for each in pair:
                each.close()

    async def _pump(self, direction, reader, writer, pair):
        try:
            while data := await reader.read(65536):
                while self.modes[direction] == "hold":
                    await asyncio.sleep(0.02)
                if self.modes[direction] == "slow":
                    await asyncio.sleep(self.delay + len(data) / (self.bytes_per_second or 1e12))
                if self.watch:
                    data = self.watch(direction, data)
                    if data is None:
                        self.broken += 1
                        for each in pair:
                            self._reset(each)
                        return
                writer.write(data)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass

    @staticmethod
    def _reset(writer):
        """Ends a connection as a network does that breaks: by a reset."""
        with_reset = struct.pack("ii", 1, 0)
        found = writer.get_extra_info("socket")
        if found is not None:
            try:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, with_reset)
            except OSError:
                pass
        writer.transport.abort()

    # --- What can be done to it, from any thread ---

    def _run(self, function):
        done = threading.Event()

        def call():
            try:
                function()
            finally:
                done.set()

        _loop.call_soon_threadsafe(call)
        done.wait(10)

    def cut(self):
        """Resets every connection."""
        self._run(lambda: [self._reset(each) for pair in list(self._connections) for each in pair])

    def refuse(self):
        """Resets every connection and accepts none."""
        self.refuses = True
        self.cut()

    def hold(self, *directions):
        for direction in directions:
            self.modes[direction] = "hold"

    def slow(self, delay, bytes_per_second=None):
        self.delay, self.bytes_per_second = delay, bytes_per_second
        self.modes = {UP: "slow", DOWN: "slow"}

    def heal(self):
        """Passes everything on again. What was held back comes through now, late."""
        self.refuses = False
        self.watch = None
        self.modes = {UP: "pass", DOWN: "pass"}

    def close(self):
        self.refuses = True
        self._run(self._server.close)
        self.cut()


def breaking(direction, marker, share, rng=None, most=10_000):
    """A watch that breaks a connection before a piece with `marker` in it, in a share of all cases."""
    rng = rng or random.Random(1)
    broken = [0]

    def watch(way, data):
        if way == direction and marker in data and broken[0] < most and rng.random() < share:
            broken[0] += 1
            return None
        return data

    return watch
