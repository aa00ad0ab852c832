//! The steps in order. Each one acts, shows the outcome and verifies it.

pub(crate) mod attach;
pub(crate) mod check;
pub(crate) mod deny;
pub(crate) mod detach;
pub(crate) mod endless;
pub(crate) mod inside;
pub(crate) mod node;
pub(crate) mod patches;
