//! What is remembered between looks and what follows from it. Pure.
