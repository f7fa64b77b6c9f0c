"""Fuzzing: arbitrary bytes for everything that reads what others wrote. ``make fuzz`` runs it.

========  ==================================================================  ==================
target    input                                                               run by
========  ==================================================================  ==================
index     a ``variables.index``, through all that reads a model's files       atheris
manifest  a stored manifest, read back at the start of a store                atheris
rpc       a session: messages to every method of every service                atheris
digest    a program of updates, copies and reads for the checksums in C       libFuzzer in clang
========  ==================================================================  ==================

A Python target is a module with ``seeds()``, ``run(data)`` and ``mutate(data, size, rng, bend)``.
It needs no fuzzer, so the unit tests replay the corpus through it.
"""
