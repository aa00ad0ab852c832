//! The steps in the order in which they are shown. Each one acts, shows and verifies.

pub(crate) mod attach;
pub(crate) mod check;
pub(crate) mod deny;
pub(crate) mod detach;
pub(crate) mod endless;
pub(crate) mod inside;
pub(crate) mod node;
pub(crate) mod patches;
