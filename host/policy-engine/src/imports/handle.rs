//! What the resources of the guest stand for.
//!
//! The data of a hook lies in the store ([`Stage`](crate::store::Stage)); a handle's number says
//! which part of it, and of which call. A guest can keep handles that are its own, so every access
//! looks whether that call is still running and has the part.
#![expect(
    unreachable_pub,
    reason = "the generated bindings re-export these types"
)]

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
