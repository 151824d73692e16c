"""The process that times the torch flows."""

from typing import Any

from benchmarks.images.cases import Case, Wavelets
from benchmarks.images.torch_flows import make_call, make_haar
from benchmarks.torch_worker import TorchCall, serve


def make(request: dict[str, Any]) -> tuple[TorchCall, dict[str, Any]]:
    """Makes what a request asks for, and counts its parameters."""
    if "wavelets" in request:
        call = make_haar(Wavelets(**request["wavelets"]), request["direction"])
        return TorchCall(call), {}
    call, parameters = make_call(Case(**request["case"]), request["library"], request["program"])
    return TorchCall(call), {"parameters": parameters}


if __name__ == "__main__":
    serve(make)
