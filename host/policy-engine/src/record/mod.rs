//! Records whole requests as policies saw them, in a bounded ring of files, and reads them again.
//!
//! A session notes what each hook was offered and what each policy did. When it ends, it hands over
//! its `Tape`; a thread of the [`Recorder`] does everything that takes time: it converts, leaves
//! out what the configuration says, and writes.

mod answer;
mod form;
mod frame;
mod lazy;
mod lookups;
#[cfg(feature = "compile")]
mod memory;
mod recorder;
mod redact;
mod ring;
mod tape;
mod weight;

pub use answer::Answer;
#[cfg(feature = "compile")]
pub use form::Unreadable;
pub use form::{Call, Offered, Recorded, RecordedOutcome, Selections, Slot, Turn};
pub use frame::{Frames, Head};
pub use lazy::Lazy;
#[cfg(feature = "compile")]
pub use memory::Memory;
pub use recorder::{Recorder, Status};
pub use redact::Redactor;

pub(crate) use lookups::Noting;
#[cfg(feature = "compile")]
pub(crate) use tape::HookNotes;
pub(crate) use tape::{Sink, Taping, TurnNotes, Value};
