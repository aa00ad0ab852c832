//! What the resources of the guest stand for.
//!
//! The data of a hook lies in the store ([`Stage`](crate::store::Stage)); a handle's number says
//! which part of it. Handles that are lent for a call end with it; those that a guest got from a
//! plan can be kept, so every access looks whether the part is there.
#![expect(
    unreachable_pub,
    reason = "the generated bindings re-export these types"
)]

use wasmtime::component::Resource;

/// The request: there is one.
#[derive(Debug)]
pub struct Request;

/// The selections: there is one list.
#[derive(Debug)]
pub struct Selections;

/// An attachment: the one of the hook, or one of the plan by its index.
#[derive(Debug)]
pub struct Attachment;

/// A result: that of the hook, or one more than the index of an attachment of the plan.
#[derive(Debug)]
pub struct Outcome;

/// The plan: there is one.
#[derive(Debug)]
pub struct Plan;

/// A handle to lend for one call.
pub(crate) fn lent<T: 'static>() -> Resource<T> {
    Resource::new_borrow(0)
}
