"""What training and its tools are measured by."""
