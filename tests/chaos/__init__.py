"""Random work on a store whose clients and daemons are killed all the time."""
