//! Nothing but tests: what holds for all crates of the workspace and for what they depend on.
