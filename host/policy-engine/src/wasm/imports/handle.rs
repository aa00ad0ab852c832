//! What the guest's resources stand for.
//!
//! A hook's data is in the store ([`Stage`](crate::wasm::stage::Stage)); a handle's number identifies a
//! part of it and the call it belongs to. A guest can keep owned handles beyond a call, so every
//! access checks that the call is still running and has the part.
#![expect(
    unreachable_pub,
    reason = "the generated bindings re-export these types"
)]

/// The only request.
#[derive(Debug)]
pub struct RequestHandle;

/// The only list of selections.
#[derive(Debug)]
pub struct SelectionsHandle;

/// The hook's attachment, or one of the plan by index.
#[derive(Debug)]
pub struct AttachmentHandle;

/// The hook's result, or one of the plan's by attachment index plus one.
#[derive(Debug)]
pub struct OutcomeHandle;

/// The only plan.
#[derive(Debug)]
pub struct PlanHandle;
