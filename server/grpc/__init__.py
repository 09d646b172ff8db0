"""The gRPC methods other than infer, as functions from bytes to bytes."""
