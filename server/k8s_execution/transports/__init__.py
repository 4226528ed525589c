"""How callers reach the use cases. The only part of the service that knows protobuf and gRPC."""
