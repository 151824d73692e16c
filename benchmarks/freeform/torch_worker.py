"""The process that times the torch flows."""

from typing import Any

from benchmarks.freeform.cases import from_fields
from benchmarks.freeform.torch_flows import make_call
from benchmarks.torch_worker import TorchCall, serve


def make(request: dict[str, Any]) -> tuple[TorchCall, dict[str, Any]]:
    """Makes what a request asks for."""
    case = from_fields(request["case"])
    call, facts = make_call(case, request["library"], request["program"])
    return TorchCall(call), facts


if __name__ == "__main__":
    serve(make)
