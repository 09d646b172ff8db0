"""What can be fitted on one matrix: a module for each library, all with the same four functions."""
