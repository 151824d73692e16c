"""The process that times the torch flows."""

from typing import Any

from benchmarks.autoregressive.cases import Case
from benchmarks.autoregressive.torch_flows import BUILDERS
from benchmarks.coupling.torch_flows import make_call
from benchmarks.torch_worker import TorchCall, serve


def make(request: dict[str, Any]) -> tuple[TorchCall, dict[str, Any]]:
    """Makes what a request asks for, and counts its parameters."""
    fields = request["case"]
    case = Case(**fields | {"hidden": tuple(fields["hidden"])})
    call, parameters = make_call(case, BUILDERS[request["make"]], request["program"])
    return TorchCall(call), {"parameters": parameters}


if __name__ == "__main__":
    serve(make)
