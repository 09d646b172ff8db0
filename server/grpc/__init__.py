"""The gRPC methods that are not infer: messages, health, reflection."""
