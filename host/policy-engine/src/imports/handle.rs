//! t
pub struct Request;
pub struct Selections;
pub struct Attachment;
pub struct Outcome;
pub struct Plan;
