"""`falaj bench`: a load generator for any V2 server."""
