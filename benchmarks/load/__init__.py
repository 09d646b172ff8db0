"""`falaj bench` beside other load generators, and Falaj beside other servers."""
