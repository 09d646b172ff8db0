"""Tests of Falaj, laid out like the code."""
