"""Traces of requests: what is sampled, and the export of its spans to OpenTelemetry's collector.

Spans are made natively (csrc/observe/otlp_spans.cc). OpenTelemetry's packages are imported only where tracing
is on: the modules `http_exporter`, `grpc_exporter` and `envelope`.
"""
