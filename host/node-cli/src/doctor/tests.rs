//! A sound node, and for each check the node on which exactly it finds something.

mod breaks;
mod broken;
mod document;
mod rig;
mod servers;
