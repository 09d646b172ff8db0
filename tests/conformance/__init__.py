"""One test for each clause of the protocol, run against any server of the Open Inference Protocol (V2)."""
