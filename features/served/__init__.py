"""What models were served with: its log, and how that is compared with what training sets would have."""
