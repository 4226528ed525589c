"""Runs one endpoint for one gRPC call: decode, judge, call, encode, and the border that no exception text crosses.

It must not know what any endpoint does: that is the table's. Bytes are decoded and encoded here and not by gRPC, so
that an unreadable or oversized request is answered like every other wrong one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, assert_never

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from k8s_execution.domain.faults import Problem, TooLarge, ValidationFailed
from k8s_execution.transports import codes, incidents
from k8s_execution.transports.endpoints import ClientStream, Door, Endpoint, ServerStream, Unary

M = TypeVar("M", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]

REQUEST_BYTES = 4 << 20
"""The largest request, as the contract says."""


class Drain:
    """Ends the waits of a server that is being stopped: a flag, and the tasks that may be interrupted right now."""

    def __init__(self) -> None:
        """Begin with nothing stopped."""
        self.begun = asyncio.Event()
        self._waiting: set[asyncio.Task[Any]] = set()

    def begin(self) -> None:
        """Interrupt every wait, now and from now on."""
        self.begun.set()
        for task in self._waiting:
            task.cancel()

    @contextmanager
    def interruptible(self, cancelled: Callable[[], bool]) -> Iterator[None]:
        """A wait that a drain ends with `codes.Stopping`; `cancelled` tells the caller's own cancellation apart.

        Cancelling a task is the only way to end a wait inside a use case, and costs nothing until it happens.
        """
        if self.begun.is_set():
            raise _stopping()
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self.begun.is_set() or cancelled() or task.uncancel() > 0:
                raise
            raise _stopping() from None
        finally:
            self._waiting.discard(task)


@dataclass(frozen=True, slots=True)
class Calls:
    """Makes gRPC behaviours of endpoints. `write_timeout` is how long a stream's reader may leave a message unread."""

    door: Door
    drain: Drain
    write_timeout: float

    def handler(self, endpoint: Endpoint) -> grpc.RpcMethodHandler[Any, Any]:
        """The method handler of one endpoint; raw bytes on both sides."""
        match endpoint:
            case Unary():
                return grpc.unary_unary_rpc_method_handler(self._guarded(endpoint, self._unary))
            case ServerStream():
                return grpc.unary_stream_rpc_method_handler(self._guarded(endpoint, self._server_stream))
            case ClientStream():
                return grpc.stream_unary_rpc_method_handler(self._guarded(endpoint, self._client_stream))
            case _:
                assert_never(endpoint)

    def _guarded(self, endpoint: Any, run: Callable[[Any, Any, Context], Awaitable[bytes | None]]) -> Any:
        async def behaviour(request: Any, context: Context) -> bytes | None:
            with _nobody_there():
                try:
                    return await run(endpoint, request, context)
                except grpc.aio.BaseError:
                    raise
                except Exception as error:  # noqa: BLE001 - the border: all is answered, no text of others leaves
                    status = incidents.answer(error, endpoint.name)
                await context.abort_with_status(rpc_status.to_status(status))
            return None

        return behaviour

    async def _unary(self, endpoint: Unary[Any, Any], raw: bytes, context: Context) -> bytes:
        request = decoded(endpoint.request, raw)
        if not endpoint.judged_inside:
            await self._judge(request)
        if not endpoint.holds:
            return encoded(await endpoint.call(self.door, request))
        with self.drain.interruptible(context.cancelled):
            return encoded(await endpoint.call(self.door, request))

    async def _server_stream(self, endpoint: ServerStream[Any, Any], raw: bytes, context: Context) -> None:
        request = decoded(endpoint.request, raw)
        await self._judge(request)
        answers = endpoint.call(self.door, request)
        async with aclosing(answers):  # type: ignore[type-var]  # endpoints are async generators, declared as iterators
            while True:
                with self.drain.interruptible(context.cancelled):
                    answer = await anext(answers, None)
                if answer is None:
                    return
                await self._write(context, encoded(answer))

    async def _client_stream(
        self, endpoint: ClientStream[Any, Any], raw: AsyncIterator[bytes], _context: Context
    ) -> bytes:
        async def pieces() -> AsyncIterator[Message]:
            async for piece in raw:
                request = decoded(endpoint.request, piece)
                await self._judge(request)
                yield request

        given = pieces()
        async with aclosing(given):  # type: ignore[type-var]  # an async generator, annotated as iterator
            return encoded(await endpoint.call(self.door, given))

    async def _judge(self, request: Message) -> None:
        if problems := await self.door.problems(request):
            raise ValidationFailed(problems)

    async def _write(self, context: Context, data: bytes) -> None:
        """Hand one message to gRPC, which takes some MiB ahead of the reader; then only the reader makes room."""
        try:
            async with asyncio.timeout(self.write_timeout):
                await context.write(data)
        except TimeoutError:
            message = f"nothing was read from the stream for {self.write_timeout:g} s"
            raise codes.ReaderStuck(message, "call again with the cursor of the last message read") from None


@contextmanager
def _nobody_there() -> Iterator[None]:
    """The caller left while something was sent to it: the call is cancelled, and not an error for gRPC to log."""
    try:
        yield
    except grpc.aio.AbortError:
        raise  # how gRPC ends a call that was answered with a status
    except grpc.aio.BaseError as error:
        raise asyncio.CancelledError from error


def decoded(kind: type[M], raw: bytes) -> M:
    """A request's bytes as its message; TooLarge and ValidationFailed say what is wrong with them."""
    if len(raw) > REQUEST_BYTES:
        raise TooLarge(
            f"a request is at most {REQUEST_BYTES >> 20} MiB, and this one is {len(raw)} bytes",
            "send test code with UploadBundle",
        )
    try:
        return kind.FromString(raw)
    except DecodeError:
        message = f"is not a {kind.DESCRIPTOR.full_name} in protobuf's binary form, or nested too deeply"
        raise ValidationFailed(
            [Problem("", "", "request.form", message, "use a client made from the contract")]
        ) from None


def encoded(answer: Message | bytes) -> bytes:
    """An answer's bytes; it may come as such."""
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


def _stopping() -> codes.Stopping:
    return codes.Stopping("this replica of the service is being stopped", "call again, streams with their last cursor")
