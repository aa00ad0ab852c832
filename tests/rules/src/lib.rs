//! Only tests: rules for all crates of the workspace and their dependencies.
