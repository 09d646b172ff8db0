"""The demo: a year of real flights, from files to answers by key."""
